/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-plan: prints the memory, work and time of a run before anything is computed. */
#include <avatar/avatar.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576.
#define GIB 1073741824.
/* Exit status if the budget is too small. */
#define TOO_SMALL 2
/* Device of a plan without a budget, larger than any real one. */
#define ENDLESS "plan:cuda:16777216"
/* Prefix of devices that need not exist. */
#define PLAN_PREFIX "plan:"
#define MOST_BUDGET 16777216

static char *size, *device, *precision, *weight_format, *step_cache, *attention;
static int frames = 129, steps, window_latents, cache_steps;
static double budget, guidance = -1, pinned = -1, tau = -1, tflops, bus_gbps;
static gboolean all_cards;

static const GOptionEntry entries[] = {
  { "size", 0, 0, G_OPTION_ARG_STRING, &size, "Video size (default: the model's)", "WxH" },
  { "frames", 0, 0, G_OPTION_ARG_INT, &frames, "Video frames (default 129)", "N" },
  { "window-latents", 0, 0, G_OPTION_ARG_INT, &window_latents,
      "Latent frames of a window, of four video frames each (default: the model's)", "N" },
  { "steps", 0, 0, G_OPTION_ARG_INT, &steps, "Steps (default: the model's)", "N" },
  { "guidance", 0, 0, G_OPTION_ARG_DOUBLE, &guidance,
      "Guidance scale; 1: none (default: the model's)", "G" },
  { "budget", 0, 0, G_OPTION_ARG_DOUBLE, &budget,
      "Total memory for the device; exit status 2 if it is too small", "MIB" },
  { "device", 0, 0, G_OPTION_ARG_STRING, &device,
      "cpu; cuda, a GPU that need not exist (default: cuda for \"released\", with --budget "
      "and with --all-cards, else cpu); or GPUs with their MiB: plan:cuda:8192+8192",
      "D" },
  { "precision", 0, 0, G_OPTION_ARG_STRING, &precision, "auto (default), fp8", "P" },
  { "weight-format", 0, 0, G_OPTION_ARG_STRING, &weight_format, "stored (default), fp8, int8",
      "F" },
  { "step-cache", 0, 0, G_OPTION_ARG_STRING, &step_cache,
      "none (default), upstream, adaptive, easy, forecast", "C" },
  { "cache-steps", 0, 0, G_OPTION_ARG_INT, &cache_steps,
      "Full steps of --step-cache=forecast (default: 30 % of all, at least 8)", "N" },
  { "attention", 0, 0, G_OPTION_ARG_STRING, &attention, "dense (default), sparse", "A" },
  { "attention-tau", 0, 0, G_OPTION_ARG_DOUBLE, &tau,
      "Standard deviations from which sparse attention is exact (default 1)", "T" },
  { "pinned", 0, 0, G_OPTION_ARG_DOUBLE, &pinned,
      "Maximum page-locked host memory (default: as much as is useful)", "MIB" },
  { "tflops", 0, 0, G_OPTION_ARG_DOUBLE, &tflops,
      "Sustained rate of 16-bit matrix products (default 680, an H200), from which the other rates "
      "are scaled",
      "T" },
  { "bus-gbps", 0, 0, G_OPTION_ARG_DOUBLE, &bus_gbps,
      "Rate of copies from page-locked memory, in GB/s (default 55)", "B" },
  { "all-cards", 0, 0, G_OPTION_ARG_NONE, &all_cards, "Print a table of cards and video sizes",
      NULL },
  /* names before the properties were renamed */
  { "chunk", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_INT, &window_latents, NULL, NULL },
  { "weights", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_STRING, &weight_format, NULL, NULL },
  { "cache", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_STRING, &step_cache, NULL, NULL },
  G_OPTION_ENTRY_NULL,
};

/* ------------------------------------------------------------------------------------ arguments */

static gboolean
parse_size (const char *text, guint *width, guint *height, GError **error)
{
  char *end;
  guint64 w = g_ascii_strtoull (text, &end, 10), h = 0;

  if (*end == 'x')
    h = g_ascii_strtoull (end + 1, &end, 10);
  if (*end || w == 0 || h == 0 || w > G_MAXINT || h > G_MAXINT) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "--size is \"%s\"; expected two positive numbers such as 128x128", text);
    return FALSE;
  }
  *width = w;
  *height = h;
  return TRUE;
}

/* Sets @choice to the index of @value in @names, or to 0 if @value is NULL. */
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
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS, "%s is \"%s\"; expected one of %s",
      option, value, all);
  return FALSE;
}

static gboolean
check_number (const char *option, double value, double min, double max, GError **error)
{
  if (value >= min && value <= max)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS, "%s is %.10g; expected %g to %.0f",
      option, value, min, max);
  return FALSE;
}

static gboolean
fill_settings (AvatarDenoiseSettings *s, GError **error)
{
  static const char *const precisions[] = { "auto", "fp8", NULL };
  static const char *const formats[] = { "stored", "fp8", "int8", NULL };
  static const char *const caches[] = { "none", "upstream", "adaptive", "easy", "forecast", NULL };
  static const char *const attentions[] = { "dense", "sparse", NULL };
  guint p, f, c, a;

  if (!parse_choice ("--precision", precision, precisions, &p, error)
      || !parse_choice ("--weight-format", weight_format, formats, &f, error)
      || !parse_choice ("--step-cache", step_cache, caches, &c, error)
      || !parse_choice ("--attention", attention, attentions, &a, error)
      || (tau != -1 && !check_number ("--attention-tau", tau, 0, 100, error))
      || (size && !parse_size (size, &s->width, &s->height, error))
      || !check_number ("--steps", steps, 0, 1000, error)
      || !check_number ("--cache-steps", cache_steps, 0, 1000, error)
      || (guidance != -1 && !check_number ("--guidance", guidance, 0, 100, error))
      || (pinned != -1 && !check_number ("--pinned", pinned, 0, MOST_BUDGET, error)))
    return FALSE;
  s->precision = p;
  s->weight_format = f;
  s->step_cache = c;
  s->step_cache_steps = cache_steps;
  s->attention = a;
  if (tau != -1)
    s->attention_tau = tau;
  if (window_latents != 0) {
    s->window_latents = MAX (window_latents, 0);
    s->overlap = CLAMP (window_latents - 1, 1, (int) s->overlap);
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

/* Returns %TRUE if --device names cards and their memory. */
static gboolean
is_named (void)
{
  return device && g_str_has_prefix (device, PLAN_PREFIX);
}

static gboolean
is_for_gpu (const char *path)
{
  if (device)
    return strcmp (device, "cpu") != 0;
  return budget > 0 || all_cards || (path && strcmp (path, "released") == 0);
}

/* ------------------------------------------------------------------------------------- printing */

/* Formats a duration as "42 s", "12 min" or "3.4 h". */
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
      g_print ("%s: runs before the denoiser, in its memory\n", plan->stages[i].name);
  g_print ("peak of all stages: %.1f MiB (without mapped weight files)\n", plan->peak_bytes / MIB);
}

static void
print_gpu (const AvatarPlanGpu *gpu)
{
  g_autofree char *slots = g_strdup_printf ("slots for streamed weights: %u", gpu->slots);
  g_autofree char *resident
      = g_strdup_printf ("resident weights: %u of %u groups", gpu->resident, gpu->groups);

  g_print ("On the GPU\n");
  line ("context, libraries, kernels", gpu->overhead_bytes);
  line ("activations and workspaces", gpu->arena_bytes);
  line (slots, gpu->slots_bytes);
  if (gpu->expand_bytes)
    line ("buffer for expanded 8-bit weights", gpu->expand_bytes);
  line (resident, gpu->fixed_bytes + gpu->resident_bytes);
  if (gpu->portrait_bytes) {
    line ("portrait encoder, while the denoiser is suspended", gpu->portrait_bytes);
    line ("decoder, while the denoiser is suspended", gpu->decoder_bytes);
  }
  line ("peak", gpu->peak_bytes);
  line ("minimum budget", gpu->min_bytes);
  if (gpu->shares_prefix)
    g_print ("  Both guidance branches share the blocks before the first audio adapter.\n");
  if (gpu->text_min_bytes)
    g_print (
        "  The prompts are encoded first, in at least %.0f MiB. This copies %.1f GiB of weights to the\n"
        "  GPU once, unless the encoded prompts are cached.\n",
        ceil (gpu->text_min_bytes / MIB), gpu->text_read_bytes / GIB);
  g_print ("  Before the first forward, %.1f GiB of weights are copied to the GPU once.\n",
      gpu->precompute_bytes / GIB);
  if (gpu->streamed_bytes)
    g_print ("  Each full forward copies %.1f GiB, %s.\n", gpu->streamed_bytes / GIB,
        gpu->slots < 4 ? "and waits for the copies: there are too few slots"
            : gpu->copy_seconds < gpu->forward_seconds ? "hidden behind the computation"
                                                       : "which takes longer than the computation");
}

static void
print_host (const AvatarPlan *plan)
{
  guint64 stages = 0;

  for (guint i = 0; i < plan->n_stages; i++)
    if (!plan->stages[i].on_gpu && !plan->stages[i].reuses_denoiser_memory)
      stages += plan->stages[i].weight_bytes + plan->stages[i].arena_bytes;
  g_print ("On the host\n");
  line ("page-locked weights for the GPU", plan->gpu.pinned_bytes);
  line ("denoiser", plan->host_bytes - stages - plan->gpu.pinned_bytes);
  for (guint i = 0; i < plan->n_stages; i++) {
    const AvatarPlanStage *s = &plan->stages[i];

    if (!s->on_gpu && !s->reuses_denoiser_memory)
      line (s->name, s->weight_bytes + s->arena_bytes);
  }
  line ("total", plan->host_bytes);
  if (plan->gpu.pinned_bytes < plan->gpu.streamed_bytes)
    g_print (
        "  %.1f GiB of the copies of each forward are read from the file, more slowly than the\n"
        "  estimate assumes.\n",
        (plan->gpu.streamed_bytes - plan->gpu.pinned_bytes) / GIB);
  g_print (
      "  The transformer's file (%.1f GiB) is mapped. It occupies no memory of the program, but is\n"
      "  fast only while it stays in the page cache.\n",
      plan->file_bytes / GIB);
}

/* Returns the rates of the blocks' number format, e.g. "matrix products at 680 TFLOP/s, attention
 * at 570". */
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

  g_print ("Estimated time: %s, copies at %.0f GB/s;\n"
           "other operations and other stages are not included\n",
      at, o->bus_gbps);
  g_print ("  full forward (%.0f TFLOP): %s; its copies: %s\n", gpu->forward_flops * 1e-12, one,
      copy);
  g_print ("  %" G_GUINT64_FORMAT " full and %" G_GUINT64_FORMAT " cached forwards: %s\n",
      gpu->forwards, gpu->cached_forwards, all);
}

/* ---------------------------------------------------------------------------------------- plans */

/* Prints what the further members of a group hold, adds their host memory to @first, and checks the
 * minimum of each. */
static int
print_members (AvatarModel *model, const AvatarDenoiseSettings *denoise,
    const AvatarPlanOptions *options, AvatarPlan *first, GError **error)
{
  AvatarDecodeSettings decode;
  AvatarPlanOptions other = *options;

  avatar_decode_settings_init (&decode, model);
  for (other.member = 1; other.member < first->n_members; other.member++) {
    AvatarPlan plan;

    if (!avatar_plan_make (model, device, denoise, &decode, frames, &other, &plan, error))
      return EXIT_FAILURE;
    g_print ("GPU %u of the group: %s\n", other.member,
        plan.gpu.arena_bytes ? "the branch of guidance without audio" : "not used");
    if (plan.gpu.arena_bytes)
      print_gpu (&plan.gpu);
    first->gpu.pinned_bytes += plan.gpu.pinned_bytes;
    first->gpu.streamed_bytes += plan.gpu.streamed_bytes;
    first->gpu.run_seconds = MAX (first->gpu.run_seconds, plan.gpu.run_seconds);
    first->host_bytes += plan.host_bytes;
    if (plan.fits)
      continue;
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "the budget of GPU %u is too small: at least %.0f MiB are needed; raise it, or choose a "
        "smaller video",
        other.member, ceil (plan.gpu.min_bytes / MIB));
    return TOO_SMALL;
  }
  return EXIT_SUCCESS;
}

static int
plan_one (AvatarModel *model, const AvatarDenoiseSettings *denoise, gboolean on_gpu,
    const AvatarPlanOptions *options, GError **error)
{
  AvatarDecodeSettings decode;
  AvatarPlan plan;
  int status = EXIT_SUCCESS;

  avatar_decode_settings_init (&decode, model);
  if (!avatar_plan_make (model,
          is_named ()  ? device
              : on_gpu ? ENDLESS
                       : "cpu",
          denoise, &decode, frames, options, &plan, error))
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
      g_print ("The budget is too small; this is the plan for the minimum budget.\n");
    if (plan.n_members > 1)
      g_print ("GPU 0 of the group: prompts, portrait, %sdecoder\n",
          denoise->guidance_scale > 1 ? "the branch of guidance with audio, " : "denoiser, ");
    print_gpu (&plan.gpu);
    status = print_members (model, denoise, options, &plan, error);
    print_host (&plan);
    print_times (&plan.gpu, denoise, options);
  } else {
    print_stages (&plan);
  }
  if (plan.fits || status != EXIT_SUCCESS)
    return status;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
      "the budget of %.0f MiB is too small: at least %.0f MiB are needed; raise it, or choose a "
      "smaller video",
      budget > 0 ? budget : plan.gpu.budget_bytes / MIB,
      (double) (((on_gpu ? plan.gpu.min_bytes : plan.peak_bytes) + (1 << 20) - 1) >> 20));
  return TOO_SMALL;
}

/* Prints one row of the table: a card with @gib, and the sizes of @pixels. */
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
      g_print (" %u of %u, %s |", plan.gpu.resident, plan.gpu.groups, time);
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

  g_print ("%s, %d frames: resident weight groups, and estimated time of a\n"
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
      "Prints the memory, work and time of a run, which it finds by running the model's code without\n"
      "data. MODEL is a model's folder (default: the demo model), or \"released\" for\n"
      "the released model's sizes, which are built in. No GPU is needed.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return EXIT_FAILURE;
  if (argc > 2) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found %d arguments, expected one model folder; see --help", argc - 1);
    return EXIT_FAILURE;
  }
  if ((!is_named () && !parse_choice ("--device", device, devices, &d, error))
      || !fill_options (&options, error))
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
  if (!on_gpu || is_named () || budget > 0 || size) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "--all-cards has its own cards and sizes; leave out --device cpu, --device plan:..., "
        "--budget and --size");
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
