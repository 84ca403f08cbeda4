/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-plan: what a run will need, printed before anything is computed. */
#include <avatar/avatar.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576.
#define GIB 1073741824.
/* Exit status when the budget does not do. */
#define TOO_SMALL 2
/* The card of a plan without a budget: larger than any. */
#define ENDLESS "plan:cuda:16777216"
#define MOST_BUDGET 16777216

static char *size, *device, *precision, *weights, *cache;
static int frames = 129, steps, chunk;
static double budget, guidance = -1, pinned = -1, tflops, bus_gbps;
static gboolean all_cards;

static const GOptionEntry entries[] = {
  { "size", 0, 0, G_OPTION_ARG_STRING, &size, "Video size (default: the model's)", "WxH" },
  { "frames", 0, 0, G_OPTION_ARG_INT, &frames, "Video frames (default 129)", "N" },
  { "chunk", 0, 0, G_OPTION_ARG_INT, &chunk,
      "Latent frames of a window, of four video frames each (default: the model's)", "N" },
  { "steps", 0, 0, G_OPTION_ARG_INT, &steps, "Steps (default: the model's)", "N" },
  { "guidance", 0, 0, G_OPTION_ARG_DOUBLE, &guidance,
      "Guidance scale; 1: none (default: the model's)", "G" },
  { "budget", 0, 0, G_OPTION_ARG_DOUBLE, &budget,
      "Memory for the device, all in all; exit status 2 if it does not do", "MIB" },
  { "device", 0, 0, G_OPTION_ARG_STRING, &device,
      "cpu, or cuda: a card that need not be there (default: cuda for \"released\", with --budget "
      "and with --all-cards, else cpu)",
      "D" },
  { "precision", 0, 0, G_OPTION_ARG_STRING, &precision, "auto (default), fp8", "P" },
  { "weights", 0, 0, G_OPTION_ARG_STRING, &weights, "stored (default), fp8, int8", "F" },
  { "cache", 0, 0, G_OPTION_ARG_STRING, &cache, "none (default), upstream, adaptive", "C" },
  { "pinned", 0, 0, G_OPTION_ARG_DOUBLE, &pinned,
      "Page-locked host memory at most (default: all that helps)", "MIB" },
  { "tflops", 0, 0, G_OPTION_ARG_DOUBLE, &tflops,
      "What the card reaches in matrix products of 16 bits (default 680, an H200); its other rates "
      "are taken to be to this as an H200's",
      "T" },
  { "bus-gbps", 0, 0, G_OPTION_ARG_DOUBLE, &bus_gbps,
      "And in copies from page-locked memory, in GB/s (default 55)", "B" },
  { "all-cards", 0, 0, G_OPTION_ARG_NONE, &all_cards, "A table of cards and sizes", NULL },
  { NULL },
};

/* --------------------------------------------------------------------------------- arguments */

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

/* The place of @value in the %NULL-terminated @names; the first if it is not given. */
static gboolean
parse_choice (const char *option, const char *value, const char *const *names, guint *choice,
    GError **error)
{
  g_autofree char *all = g_strjoinv (", ", (char **) names);

  *choice = 0;
  for (guint i = 0; value && names[i]; i++)
    if (strcmp (value, names[i]) == 0) {
      *choice = i;
      return TRUE;
    }
  if (!value)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS, "%s is \"%s\"; one of %s was expected",
      option, value, all);
  return FALSE;
}

static gboolean
check_number (const char *option, double value, double least, double most, GError **error)
{
  if (value >= least && value <= most)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS, "%s is %.10g; %g to %.0f are possible",
      option, value, least, most);
  return FALSE;
}

static gboolean
fill_settings (AvatarDenoiseSettings *s, GError **error)
{
  static const char *const precisions[] = { "auto", "fp8", NULL };
  static const char *const formats[] = { "stored", "fp8", "int8", NULL };
  static const char *const caches[] = { "none", "upstream", "adaptive", NULL };
  guint p, f, c;

  if (!parse_choice ("--precision", precision, precisions, &p, error)
      || !parse_choice ("--weights", weights, formats, &f, error)
      || !parse_choice ("--cache", cache, caches, &c, error)
      || (size && !parse_size (size, &s->width, &s->height, error))
      || !check_number ("--steps", steps, 0, 1000, error)
      || (guidance != -1 && !check_number ("--guidance", guidance, 0, 100, error))
      || (pinned != -1 && !check_number ("--pinned", pinned, 0, MOST_BUDGET, error)))
    return FALSE;
  s->precision = p;
  s->weight_format = f;
  s->step_cache = c;
  if (chunk != 0) {
    s->window_latents = MAX (chunk, 0);
    s->overlap = CLAMP (chunk - 1, 1, (int) s->overlap);
  }
  if (steps > 0)
    s->steps = steps;
  if (guidance != -1)
    s->guidance_scale = guidance;
  if (pinned != -1)
    s->pinned_bytes = pinned * MIB;
  return TRUE;
}

static gboolean
fill_options (AvatarPlanOptions *o, GError **error)
{
  double factor;

  avatar_plan_options_init (o);
  factor = tflops > 0 ? tflops / o->linear_tflops : 1;
  if (!check_number ("--frames", frames, 1, 1000000, error)
      || (budget != 0 && !check_number ("--budget", budget, 1, MOST_BUDGET, error))
      || !check_number ("--tflops", tflops, 0, 100000, error)
      || !check_number ("--bus-gbps", bus_gbps, 0, 100000, error))
    return FALSE;
  o->budget_bytes = budget * MIB;
  o->linear_tflops *= factor;
  o->linear_8bit_tflops *= factor;
  o->attention_tflops *= factor;
  o->attention_8bit_tflops *= factor;
  if (bus_gbps > 0)
    o->bus_gbps = bus_gbps;
  return TRUE;
}

static gboolean
is_for_gpu (const char *path)
{
  if (device)
    return strcmp (device, "cpu") != 0;
  return budget > 0 || all_cards || (path && strcmp (path, "released") == 0);
}

/* ---------------------------------------------------------------------------------- printing */

/* "42 s", "12 min", "3.4 h" */
static char *
duration (double seconds)
{
  if (seconds < 10)
    return g_strdup_printf ("%.2f s", seconds);
  if (seconds < 120)
    return g_strdup_printf ("%.0f s", seconds);
  if (seconds < 7200)
    return g_strdup_printf ("%.0f min", seconds / 60);
  return g_strdup_printf ("%.1f h", seconds / 3600);
}

static void
line (const char *what, guint64 bytes)
{
  g_print ("  %-58s %9.0f MiB\n", what, bytes / MIB);
}

static void
print_stages (const AvatarPlan *plan)
{
  g_print ("%-18s %12s %12s %12s %12s\n", "stage", "weights MiB", "arena MiB", "GFLOP",
      "traffic GB");
  for (guint i = 0; i < plan->n_stages; i++) {
    const AvatarPlanStage *s = &plan->stages[i];

    g_print ("%-18s %12.1f %12.1f %12.1f %12.2f\n", s->name, s->weight_bytes / MIB,
        s->arena_bytes / MIB, s->flops * 1e-9, s->bytes * 1e-9);
  }
  for (guint i = 0; i < plan->n_stages; i++)
    if (plan->stages[i].reuses_denoiser_memory)
      g_print ("%s: before anything is denoised, in the denoiser's memory\n", plan->stages[i].name);
  g_print ("peak of all stages together: %.1f MiB (mapped weight files not counted)\n",
      plan->peak_bytes / MIB);
}

static void
print_gpu (const AvatarPlanGpu *gpu)
{
  g_autofree char *slots = g_strdup_printf ("weights on their way: %u places", gpu->slots);
  g_autofree char *resident = g_strdup_printf ("weights that stay: %u of %u parts of the blocks",
      gpu->resident, gpu->groups);

  g_print ("On the GPU\n");
  line ("context, libraries, kernels", gpu->overhead_bytes);
  line ("activations and workspaces", gpu->arena_bytes);
  line (slots, gpu->slots_bytes);
  if (gpu->expand_bytes)
    line ("room to expand 8-bit weights in", gpu->expand_bytes);
  line (resident, gpu->fixed_bytes + gpu->resident_bytes);
  line ("in turns with the denoiser: the portrait's encoder", gpu->portrait_bytes);
  line ("in turns with the denoiser: the decoder", gpu->decoder_bytes);
  line ("peak", gpu->peak_bytes);
  line ("smallest budget that does", gpu->min_bytes);
  if (gpu->shares_tokens)
    g_print ("  Both branches of guidance share what they have in common.\n");
  if (gpu->text_min_bytes)
    g_print (
        "  The prompts are encoded before anything else, in %.0f MiB or more; %.1f GiB of weights go\n"
        "  through the GPU for it, once, unless the prompts and the portrait are known already.\n",
        ceil (gpu->text_min_bytes / MIB), gpu->text_read_bytes / GIB);
  g_print ("  Before the first forward %.1f GiB are copied to the GPU, once.\n",
      gpu->precompute_bytes / GIB);
  if (gpu->streamed_bytes)
    g_print ("  Every full forward copies %.1f GiB, %s.\n", gpu->streamed_bytes / GIB,
        gpu->slots < 4 ? "and waits for it: there are too few places"
            : gpu->copy_seconds < gpu->forward_seconds ? "under its work"
                                                       : "which takes longer than its work");
}

static void
print_host (const AvatarPlan *plan)
{
  guint64 stages = 0;

  for (guint i = 0; i < plan->n_stages; i++)
    if (!plan->stages[i].on_gpu && !plan->stages[i].reuses_denoiser_memory)
      stages += plan->stages[i].weight_bytes + plan->stages[i].arena_bytes;
  g_print ("On the host\n");
  line ("weights for the GPU, page-locked", plan->gpu.pinned_bytes);
  line ("the denoiser's own", plan->host_bytes - stages - plan->gpu.pinned_bytes);
  for (guint i = 0; i < plan->n_stages; i++) {
    const AvatarPlanStage *s = &plan->stages[i];

    if (!s->on_gpu && !s->reuses_denoiser_memory)
      line (s->name, s->weight_bytes + s->arena_bytes);
  }
  line ("together", plan->host_bytes);
  if (plan->gpu.pinned_bytes < plan->gpu.streamed_bytes)
    g_print (
        "  %.1f GiB of every forward's copies come from the file instead, and are slower than\n"
        "  the estimate takes them for.\n",
        (plan->gpu.streamed_bytes - plan->gpu.pinned_bytes) / GIB);
  g_print (
      "  The transformer's file (%.1f GiB) is mapped: that is no memory in use, but quick only\n"
      "  while the system keeps it there.\n",
      plan->file_bytes / GIB);
}

/* "matrix products at 680 TFLOP/s, attention at 570", of what the blocks compute in */
static char *
rates (const AvatarDenoiseSettings *s, const AvatarPlanOptions *o)
{
  gboolean fp8 = s->precision == AVATAR_PRECISION_FP8;

  return g_strdup_printf ("matrix products at %.0f TFLOP/s, attention at %.0f",
      fp8 ? o->linear_8bit_tflops : o->linear_tflops,
      fp8 ? o->attention_8bit_tflops : o->attention_tflops);
}

static void
print_times (const AvatarPlanGpu *gpu, const AvatarDenoiseSettings *denoise,
    const AvatarPlanOptions *o)
{
  g_autofree char *at = rates (denoise, o);
  g_autofree char *one = duration (gpu->forward_seconds);
  g_autofree char *all = duration (gpu->run_seconds);
  g_autofree char *copy = duration (gpu->copy_seconds);

  g_print ("Time, an estimate: %s, copies at %.0f GB/s;\n"
           "what lies between them is not counted, nor are the other stages\n",
      at, o->bus_gbps);
  g_print ("  a full forward (%.0f TFLOP): %s; its copies: %s\n", gpu->forward_flops * 1e-12, one,
      copy);
  g_print ("  all %" G_GUINT64_FORMAT " full and %" G_GUINT64_FORMAT " cached forwards: %s\n",
      gpu->forwards, gpu->cached_forwards, all);
}

/* -------------------------------------------------------------------------------------- plans */

static int
plan_one (AvatarModel *model, const AvatarDenoiseSettings *denoise, gboolean on_gpu,
    const AvatarPlanOptions *options, GError **error)
{
  AvatarDecodeSettings decode;
  AvatarPlan plan;

  avatar_decode_settings_init (&decode, model);
  if (!avatar_plan_make (model, on_gpu ? ENDLESS : "cpu", denoise, &decode, frames, options, &plan,
          error))
    return EXIT_FAILURE;
  g_print ("%s, %ux%u, %d frames, %u steps", avatar_model_get_info (model)->name, denoise->width,
      denoise->height, frames, denoise->steps);
  if (denoise->guidance_scale > 1)
    g_print (", guidance");
  if (budget > 0)
    g_print (", budget %.0f MiB", budget);
  g_print ("\n");
  if (on_gpu) {
    if (!plan.fits)
      g_print ("The budget does not do; this is the plan for the smallest that does.\n");
    print_gpu (&plan.gpu);
    print_host (&plan);
    print_times (&plan.gpu, denoise, options);
  } else {
    print_stages (&plan);
  }
  if (plan.fits)
    return EXIT_SUCCESS;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
      "the budget of %.0f MiB does not do: at least %.0f MiB are needed; raise it, or choose a "
      "smaller video",
      budget, (double) (((on_gpu ? plan.gpu.min_bytes : plan.peak_bytes) + (1 << 20) - 1) >> 20));
  return TOO_SMALL;
}

/* One row of the table: the sizes of @pixels on a card with @gib. */
static gboolean
print_card (AvatarModel *model, AvatarDenoiseSettings *denoise, guint gib, const guint (*pixels)[2],
    guint n, const AvatarPlanOptions *options, GError **error)
{
  g_autofree char *name = g_strdup_printf ("plan:cuda:%u", gib * 1024);
  AvatarDecodeSettings decode;

  avatar_decode_settings_init (&decode, model);
  g_print ("| %u GiB |", gib);
  for (guint i = 0; i < n; i++) {
    AvatarPlan plan;
    g_autofree char *time = NULL;

    denoise->width = pixels[i][0];
    denoise->height = pixels[i][1];
    if (!avatar_plan_make (model, name, denoise, &decode, frames, options, &plan, error))
      return FALSE;
    time = duration (plan.gpu.forward_seconds);
    if (plan.fits)
      g_print (" %u of %u stay, %s |", plan.gpu.resident, plan.gpu.groups, time);
    else
      g_print (" needs %.0f MiB |", plan.gpu.min_bytes / MIB);
  }
  g_print ("\n");
  return TRUE;
}

static int
plan_all (AvatarModel *model, const AvatarDenoiseSettings *settings,
    const AvatarPlanOptions *options, GError **error)
{
  static const guint pixels[][2]
      = { { 384, 384 }, { 512, 512 }, { 704, 704 }, { 704, 768 }, { 704, 1216 } };
  static const guint cards[] = { 4, 6, 8, 12, 16, 24, 48, 80 };
  AvatarDenoiseSettings denoise = *settings;
  g_autofree char *at = rates (settings, options);

  g_print ("%s, %d frames: parts of the blocks that stay on the card, and the estimate for a\n"
           "full forward (%s, copies at %.0f GB/s)\n\n| card |",
      avatar_model_get_info (model)->name, frames, at, options->bus_gbps);
  for (guint i = 0; i < G_N_ELEMENTS (pixels); i++)
    g_print (" %ux%u |", pixels[i][0], pixels[i][1]);
  g_print ("\n| --- |");
  for (guint i = 0; i < G_N_ELEMENTS (pixels); i++)
    g_print (" --- |");
  g_print ("\n");
  for (guint i = 0; i < G_N_ELEMENTS (cards); i++)
    if (!print_card (model, &denoise, cards[i], pixels, G_N_ELEMENTS (pixels), options, error))
      return EXIT_FAILURE;
  return EXIT_SUCCESS;
}

static int
run (int argc, char **argv, GError **error)
{
  static const char *const devices[] = { "cpu", "cuda", NULL };
  g_autoptr (GOptionContext) context = g_option_context_new ("[MODEL]");
  g_autoptr (AvatarModel) model = NULL;
  AvatarDenoiseSettings denoise;
  AvatarPlanOptions options;
  gboolean on_gpu;
  guint d;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context,
      "Prints the memory, work and time of a run, found by running the model's code over memory\n"
      "that is not there. MODEL is a model's folder (default: the demo model), or \"released\" for\n"
      "the released model's sizes, which are built in. No GPU is needed.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return EXIT_FAILURE;
  if (argc > 2) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "%d arguments were given; one model folder was expected; see --help", argc - 1);
    return EXIT_FAILURE;
  }
  if (!parse_choice ("--device", device, devices, &d, error) || !fill_options (&options, error))
    return EXIT_FAILURE;
  model = avatar_model_open (argc == 2 ? argv[1] : NULL, error);
  if (!model)
    return EXIT_FAILURE;
  avatar_denoise_settings_init (&denoise, model);
  if (!fill_settings (&denoise, error))
    return EXIT_FAILURE;
  on_gpu = is_for_gpu (argc == 2 ? argv[1] : NULL);
  if (!all_cards)
    return plan_one (model, &denoise, on_gpu, &options, error);
  if (!on_gpu || budget > 0 || size) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "--all-cards goes through cards and sizes itself; leave out --device cpu, --budget and "
        "--size");
    return EXIT_FAILURE;
  }
  return plan_all (model, &denoise, &options, error);
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
