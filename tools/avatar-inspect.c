/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-inspect: lists the components in a folder or file of weights, what is missing, and the
 * memory that a run needs. */
#include "engine/inspect/inspect-tokenizer.h"
#include "tools/inspect-print.h"

#include <avatar/avatar.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exit status if a needed component is missing. */
#define MISSING 2
/* Device of a plan without a budget, larger than any real one. */
#define ENDLESS "plan:cuda:16777216"
#define FRAMES 129
#define RELEASED "released"

static gboolean json, no_memory;

static const GOptionEntry entries[] = {
  { "json", 0, 0, G_OPTION_ARG_NONE, &json, "One JSON object, for programs", NULL },
  { "no-memory", 0, 0, G_OPTION_ARG_NONE, &no_memory, "Leave out the memory plans", NULL },
  G_OPTION_ENTRY_NULL,
};

/* ------------------------------------------------------------------------------------- progress */

/* Steps of the progress bar: components of a model, other files, tokenizers, plans for each
 * size. */
#define STEPS (7 + 1 + 1 + 3)
#define BAR 20

/* Shows progress on a terminal.
 * @what: (nullable): current step; %NULL removes the line */
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

/* Opens the model for a plan. The sizes of a release are known even if components are missing.
 * Returns NULL with @error if no plan is possible. */
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
      "Lists the components of a model in the folder or file PATH: their formats and sizes, what is\n"
      "missing and where to download it, and the memory that a run needs.\n"
      "Exit status: 0 usable; 2 a needed component is missing or unusable; 1 PATH cannot be read.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return EXIT_FAILURE;
  if (argc != 2) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found %d arguments, expected one folder or file; see --help", argc - 1);
    return EXIT_FAILURE;
  }
  inspection = avatar_inspect (argv[1], show, &done, error);
  if (inspection) {
    show ("tokenizers", &done);
    avatar_inspect_tokenizers (inspection);
  }
  /* The list of components explains a missing plan. */
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
