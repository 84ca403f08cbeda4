/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-plan: what a run will need, printed before anything is computed. */
#include <avatar/avatar.h>

#include <stdlib.h>

static char *size = NULL;
static int frames = 129, steps = 0;
static double budget = 0;

static const GOptionEntry entries[] = {
  { "size", 0, 0, G_OPTION_ARG_STRING, &size, "Video size (default: the model's)", "WxH" },
  { "frames", 0, 0, G_OPTION_ARG_INT, &frames, "Video frames (default 129)", "N" },
  { "steps", 0, 0, G_OPTION_ARG_INT, &steps, "Steps (default: the model's)", "N" },
  { "budget", 0, 0, G_OPTION_ARG_DOUBLE, &budget, "Memory budget in MiB; exit 2 if too small",
      "B" },
  { NULL },
};

static gboolean
parse_size (const char *text, guint *width, guint *height, GError **error)
{
  char *end;
  guint64 w = g_ascii_strtoull (text, &end, 10), h = 0;

  if (*end == 'x')
    h = g_ascii_strtoull (end + 1, &end, 10);
  if (*end || w == 0 || h == 0 || w > G_MAXINT || h > G_MAXINT) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "--size is \"%s\"; two positive numbers such as 128x128 were expected", text);
    return FALSE;
  }
  *width = w;
  *height = h;
  return TRUE;
}

static void
print_plan (const AvatarPlan *plan)
{
  g_print ("%-18s %12s %12s %12s %12s\n", "stage", "weights MiB", "arena MiB", "GFLOP",
      "traffic GB");
  for (guint i = 0; i < plan->n_stages; i++) {
    const AvatarPlanStage *s = &plan->stages[i];

    g_print ("%-18s %12.1f %12.1f %12.1f %12.2f\n", s->name, s->weight_bytes / 1048576.,
        s->arena_bytes / 1048576., s->flops * 1e-9, s->bytes * 1e-9);
  }
  g_print ("peak of all stages together: %.1f MiB (mapped weight files not counted)\n",
      plan->peak_bytes / 1048576.);
}

static int
run (int argc, char **argv, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("[MODEL]");
  g_autoptr (AvatarModel) model = NULL;
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  AvatarPlan plan;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context,
      "Prints the memory, work and traffic of every stage, found by running the model's code "
      "over memory that is not there.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return EXIT_FAILURE;
  if (argc > 2 || frames < 1 || steps < 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "one model folder, at least 1 frame and 0 or more steps were expected; see --help");
    return EXIT_FAILURE;
  }
  model = avatar_model_open (argc == 2 ? argv[1] : NULL, error);
  if (!model)
    return EXIT_FAILURE;
  avatar_denoise_settings_init (&denoise, model);
  avatar_decode_settings_init (&decode, model);
  if (size && !parse_size (size, &denoise.width, &denoise.height, error))
    return EXIT_FAILURE;
  if (steps > 0)
    denoise.steps = steps;
  if (!avatar_plan_make (model, "cpu", &denoise, &decode, frames, NULL, &plan, error))
    return EXIT_FAILURE;
  g_print ("%s, %ux%u, %d frames, %u steps\n", avatar_model_get_info (model)->name, denoise.width,
      denoise.height, frames, denoise.steps);
  print_plan (&plan);
  if (budget > 0 && plan.peak_bytes > budget * 1048576.) {
    g_print ("the budget of %.1f MiB does not do: at least %.1f MiB are needed\n", budget,
        plan.peak_bytes / 1048576.);
    return 2;
  }
  return EXIT_SUCCESS;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int status = run (argc, argv, &error);

  if (error)
    g_printerr ("avatar-plan: %s\n", error->message);
  return status;
}
