/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-inspect: what a folder or a file of weights is, what is missing, and the memory it needs. */
#include "engine/inspect/inspect-tokenizer.h"
#include "tools/inspect-print.h"

#include <avatar/avatar.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exit status when something that is needed is missing. */
#define MISSING 2
/* The card of a plan without a budget: larger than any. */
#define ENDLESS "plan:cuda:16777216"
#define FRAMES 129
#define RELEASED "released"

static gboolean json, no_memory;

static const GOptionEntry entries[] = {
  { "json", 0, 0, G_OPTION_ARG_NONE, &json, "One JSON object, for programs", NULL },
  { "no-memory", 0, 0, G_OPTION_ARG_NONE, &no_memory, "Leave out what it will need in memory",
      NULL },
  { NULL },
};

/* ----------------------------------------------------------------------------------------- the terminal */

/* Parts of a model's folder, what else is in it, tokenizers, and plans for each size and budget. */
#define STEPS (7 + 1 + 1 + 3)
#define BAR 20

/* On a terminal: how far it is, and what is being looked at; %NULL: all is done, and the line is wiped. */
static void
show (const char *what, gpointer data)
{
  guint *done = data;
  char bar[BAR + 1] = { 0 };

  if (!isatty (STDERR_FILENO))
    return;
  if (!what) {
    g_printerr ("\r\033[K");
    return;
  }
  for (guint i = 0; i < BAR; i++)
    bar[i] = i * STEPS < *done * BAR ? '#' : '.';
  g_printerr ("\r\033[K[%s] %s", bar, what);
  *done = MIN (*done + 1, STEPS);
}

static gboolean
plan_size (AvatarModel *model, InspectNeed *need, GError **error)
{
  static const guint64 budgets[INSPECT_BUDGETS] = { 8192, 24576 };
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  AvatarPlanOptions options;
  AvatarPlan plan;

  avatar_denoise_settings_init (&denoise, model);
  avatar_decode_settings_init (&decode, model);
  avatar_plan_options_init (&options);
  denoise.width = need->width;
  denoise.height = need->height;
  for (guint i = 0; i < INSPECT_BUDGETS; i++) {
    options.budget_bytes = budgets[i] << 20;
    if (!avatar_plan_make (model, ENDLESS, &denoise, &decode, FRAMES, &options, &plan, error))
      return FALSE;
    need->min_bytes = plan.gpu.min_bytes;
    need->budgets[i] = (InspectBudget){ options.budget_bytes, plan.fits, plan.gpu.resident,
      plan.gpu.groups, plan.host_bytes };
  }
  return TRUE;
}

/* Of a tree of the release the sizes are known also while parts are missing. NULL with @error: why
 * nothing can be planned. */
static GArray *
plan_sizes (const char *path, const AvatarInspection *inspection, guint *done, GError **error)
{
  static const guint sizes[][2] = { { 384, 384 }, { 512, 512 }, { 704, 768 } };
  gboolean whole = inspection->kind != AVATAR_INSPECTED_FILES;
  g_autoptr (AvatarModel) model = NULL;
  g_autoptr (GArray) needs = g_array_new (FALSE, FALSE, sizeof (InspectNeed));

  if (whole)
    model = avatar_model_open (path, error);
  if (!model && inspection->released_sizes) {
    g_clear_error (error);
    model = avatar_model_open (RELEASED, error);
  }
  if (!model)
    return NULL;
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    InspectNeed need = { .width = sizes[i][0], .height = sizes[i][1] };
    g_autofree char *what = g_strdup_printf ("memory for %ux%u", need.width, need.height);

    show (what, done);
    if (!plan_size (model, &need, error))
      return NULL;
    g_array_append_val (needs, need);
  }
  return g_steal_pointer (&needs);
}

static int
run (int argc, char **argv, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("PATH");
  g_autoptr (AvatarInspection) inspection = NULL;
  g_autoptr (GArray) needs = NULL;
  guint done = 0;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context,
      "Tells what the folder or file PATH is: the parts of a model that were found, their formats\n"
      "and sizes, what is missing and where it comes from, and the memory that a run will need.\n"
      "Exit status: 0 usable; 2 something that is needed is missing; 1 PATH cannot be read.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return EXIT_FAILURE;
  if (argc != 2) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "%d arguments were given; one folder or file was expected; see --help", argc - 1);
    return EXIT_FAILURE;
  }
  inspection = avatar_inspect (argv[1], show, &done, error);
  if (inspection) {
    show ("tokenizers", &done);
    avatar_inspect_tokenizers (inspection);
  }
  /* why there is no plan is told by the parts */
  needs = no_memory || !inspection ? NULL : plan_sizes (argv[1], inspection, &done, NULL);
  show (NULL, &done);
  if (!inspection)
    return EXIT_FAILURE;
  if (json)
    inspect_print_json (argv[1], inspection, needs);
  else
    inspect_print_text (argv[1], inspection, needs);
  return avatar_inspection_is_usable (inspection) ? EXIT_SUCCESS : MISSING;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int status = run (argc, argv, &error);
  g_autofree char *message = error ? inspect_printable (error->message) : NULL;

  if (message)
    g_printerr ("avatar-inspect: %s\n", message);
  return status;
}
