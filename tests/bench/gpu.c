/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The released transformer on a GPU, from random weights made in memory: one forward for each
 * size, precision and budget, with the peak that the driver saw. One JSON object a line.
 *
 *   bench-gpu DEVICE [--dump FILE] ROW...
 *
 * A row: WxH/PRECISION/BUDGET_MIB[/guided[-CACHE]], e.g. 512x512/bf16/3072. /guided: 50 steps with
 * guidance, whose time is "sum"; CACHE: none, upstream (the default) or forecast. --dump writes
 * what every block of the first step of the next row puts out, for tests/gpu/forward.py:
 * "name count\n", then float32.
 *
 * PRECISION: bf16, fp8 (computed in), w8 (int8 weights), w8f (e4m3 weights); BUDGET 0: none. */
#include "engine/denoise/window.h"
#include "engine/device/device.h"
#include "engine/model/model.h"
#include "engine/model/random-weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES 33
#define PIECE ((gsize) 1 << 18)
#define TEXT 831
#define TEXT_USED 650
/* Seconds after which a forward is not timed again. */
#define ENOUGH 6

/* All tensors of the component in one block of memory; scaled so that activations stay near one. */
static GHashTable *
random_weights (AvatarModel *model, GBytes **memory)
{
  GHashTable *shapes = avatar_model_get_component (model, AVATAR_COMPONENT_TRANSFORMER, NULL);
  GHashTable *table = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, g_free);
  g_autoptr (GList) names = g_list_sort (g_hash_table_get_keys (shapes), (GCompareFunc) strcmp);
  gsize all = 0, at = 0;
  guint16 *values;

  for (GList *l = names; l; l = l->next)
    all += (avatar_tensor_source_n (g_hash_table_lookup (shapes, l->data)) + 127) & ~127;
  values = g_malloc (all * 2);
  *memory = g_bytes_new_take (values, all * 2);
  for (GList *l = names; l; l = l->next) {
    const AvatarTensorSource *shape = g_hash_table_lookup (shapes, l->data);
    gsize n = avatar_tensor_source_n (shape);
    AvatarRandom random = avatar_random_for (l->data, avatar_tensor_source_layout (shape), 0);
    AvatarTensorSource t
        = avatar_tensor_source_in_bytes (*memory, at * 2, AVATAR_BF16, shape->rank, shape->shape);

#pragma omp parallel for schedule(static)
    for (gsize i = 0; i < n; i += PIECE)
      avatar_random_fill (&random, i, MIN (PIECE, n - i), AVATAR_BF16, values + at + i);
    g_hash_table_insert (table, l->data, g_memdup2 (&t, sizeof t));
    at += (n + 127) & ~127;
  }
  return table;
}

static float *
random_floats (gsize n, guint64 seed, float width)
{
  AvatarRandom random = { .stream = seed, .width = width };
  float *out = g_new (float, n);

  avatar_random_fill (&random, 0, n, AVATAR_F32, out);
  return out;
}

/* Reads what the driver says a thousand times a second. */
typedef struct
{
  AvatarDevice *device;
  gint quit;
  guint64 peak;
} Watch;

static gpointer
watch (gpointer data)
{
  Watch *w = data;
  const AvatarBackend *backend = avatar_device_get_backend (w->device);

  while (!g_atomic_int_get (&w->quit)) {
    guint64 free_bytes, total;

    backend->memory_info (avatar_device_get_handle (w->device), &free_bytes, &total);
    w->peak = MAX (w->peak, total - free_bytes);
    g_usleep (1000);
  }
  return NULL;
}

typedef struct
{
  guint width, height;
  char precision[8];
  guint64 budget;
  gboolean guided;
  AvatarStepCacheMode cache;
} Row;

static gboolean
parse_row (const char *text, Row *row)
{
  char kind[17] = "";
  int n = sscanf (text, "%ux%u/%7[^/]/%" G_GUINT64_FORMAT "/%16s", &row->width, &row->height,
      row->precision, &row->budget, kind);

  row->guided = g_str_has_prefix (kind, "guided");
  row->cache = AVATAR_STEP_CACHE_NONE;
  if (strcmp (kind, "guided") == 0 || strcmp (kind, "guided-upstream") == 0)
    row->cache = AVATAR_STEP_CACHE_UPSTREAM;
  else if (strcmp (kind, "guided-forecast") == 0)
    row->cache = AVATAR_STEP_CACHE_FORECAST;
  else if (n == 5 && strcmp (kind, "guided-none") != 0)
    return FALSE;
  return n >= 4;
}

typedef struct
{
  AvatarTransformer transformer;
  AvatarConditions conditions;
  AvatarWindow window;
  AvatarOps *ops;
  AvatarTensor x, v;
  FILE *dump; /* NULL: no more */
} Bench;

/* A tap: appends the value to the file. */
static void
dump (const char *name, AvatarTensor value, gpointer data)
{
  Bench *b = data;
  gsize n = avatar_tensor_n (value);
  g_autofree float *host = g_new (float, n);

  if (!b->dump)
    return;
  avatar_op_download (b->ops, host, value);
  fprintf (b->dump, "%s %" G_GSIZE_FORMAT "\n", name, n);
  fwrite (host, sizeof (float), n, b->dump);
}

static void
begin (Bench *b, AvatarOps *ops, const float *audio)
{
  avatar_window_begin (&b->window, ops);
  avatar_window_set_audio (&b->window, ops, audio);
  b->x = avatar_ops_alloc_as (ops, AVATAR_F32, 4, b->window.channels, b->window.frames,
      b->window.h8, b->window.w8);
  b->v = avatar_ops_alloc_as (ops, AVATAR_F32, 4, b->window.channels, b->window.frames,
      b->window.h8, b->window.w8);
}

/* Seconds of step @i, the velocity on the host included. */
static double
timed_step (Bench *b, guint i, const float *x, float *v)
{
  gint64 start = g_get_monotonic_time ();

  avatar_op_upload (b->ops, b->x, x);
  avatar_window_velocity (&b->window, b->ops, b->v, b->x, i, (AvatarWindowPosition){ 0 });
  avatar_op_download (b->ops, v, b->v);
  return (g_get_monotonic_time () - start) * 1e-6;
}

static gboolean
is_finite (const float *v, gsize n)
{
  for (gsize i = 0; i < n; i++)
    if (!isfinite (v[i]))
      return FALSE;
  return TRUE;
}

static gboolean
run_row (AvatarModel *model, GHashTable *table, AvatarDevice *device, const Row *row,
    const char *name, FILE *dump_file, GError **error)
{
  const AvatarTransformerConfig *c = &avatar_model_get_config (model)->transformer;
  g_autoptr (AvatarTransformerWeights) params = avatar_transformer_weights_new (c);
  AvatarWeightSettings settings = { .pinned_bytes = G_MAXUINT64 };
  g_autoptr (AvatarWeights) weights = NULL;
  g_autofree AvatarWeightSchedule *precompute
      = avatar_transformer_weight_schedule (c, AVATAR_PASS_PRECOMPUTE);
  g_autofree AvatarWeightSchedule *forward
      = avatar_transformer_weight_schedule (c, AVATAR_PASS_FORWARD);
  guint steps = row->guided ? 50 : 4;
  gsize n = (gsize) 16 * FRAMES * (row->height / 8) * (row->width / 8);
  g_autofree float *states = random_floats ((gsize) TEXT * c->text_dim, 1, 1);
  g_autofree float *pooled = random_floats (c->pooled_dim, 2, 1);
  g_autofree float *audio = random_floats ((gsize) 129 * 19200, 3, 1);
  g_autofree float *x = random_floats (n, 4, 1.7f);
  g_autofree float *v = g_new0 (float, n);
  g_autofree guint8 *mask = g_malloc0 (TEXT);
  Watch w = { .device = device };
  AvatarMemory memory;
  AvatarWeightStreamerStats stats;
  GThread *watcher;
  Bench b = { 0 };
  double times[64], load, prepare, total = 0, full = 0;
  gint64 start = g_get_monotonic_time ();
  gsize peak;
  guint runs = row->guided ? steps : 3, n_full = 0;
  gboolean done;

  memset (mask, 1, TEXT_USED);
  if (strcmp (row->precision, "fp8") == 0)
    settings = (AvatarWeightSettings){ .quantise = AVATAR_QUANTISE_FP8,
      .compute_fp8 = TRUE,
      .pinned_bytes = G_MAXUINT64 };
  else if (strcmp (row->precision, "w8") == 0)
    settings.quantise = AVATAR_QUANTISE_INT8;
  else if (strcmp (row->precision, "w8f") == 0)
    settings.quantise = AVATAR_QUANTISE_FP8;
  avatar_device_set_budget (device, row->budget << 20);
  weights = avatar_weights_new_from_table (table, device, AVATAR_COMPONENT_TRANSFORMER,
      params->list, &settings, AVATAR_WEIGHTS_LOAD, error);
  if (!weights)
    return FALSE;
  b.transformer = (AvatarTransformer){ .config = c,
    .weights = weights,
    .params = params,
    .fp8 = settings.compute_fp8 };
  b.dump = dump_file;
  if (dump_file) {
    b.transformer.tap = dump;
    b.transformer.tap_data = &b;
  }
  for (guint i = 0; i < 2; i++)
    b.conditions.text[i] = (AvatarText){ states, pooled, mask, TEXT, TEXT_USED };
  b.conditions.reference = random_floats (16 * (row->height / 8) * (row->width / 8), 5, 1.7f);
  b.conditions.faces = random_floats ((row->height / 8) * (row->width / 8), 6, 1);
  b.window = (AvatarWindow){ .transformer = &b.transformer,
    .conditions = &b.conditions,
    .motion_exp = 30,
    .motion_pose = 25,
    .fps = 25,
    .guidance_scale = row->guided ? 7.5 : 1,
    .flow_shift = 5,
    .n_speakers = 1,
    .frames = FRAMES,
    .channels = 16,
    .h8 = row->height / 8,
    .w8 = row->width / 8,
    .step_cache_mode = row->cache,
    .share_prefix = row->guided && row->budget == 0,
    .storage = row->budget ? AVATAR_TOKEN_STORAGE_HOST : AVATAR_TOKEN_STORAGE_DEVICE };
  avatar_window_set_steps (&b.window, &steps, 1);
  {
    g_autoptr (AvatarOps) dry_run = avatar_ops_new (device, avatar_arena_new_dry_run (), NULL);
    gsize mark;

    avatar_window_precompute (&b.window, dry_run, NULL);
    begin (&b, dry_run, NULL);
    mark = avatar_ops_mark (dry_run);
    for (guint i = 0; i < steps; i++) {
      avatar_window_velocity (&b.window, dry_run, b.v, b.x, i, (AvatarWindowPosition){ 0 });
      avatar_ops_release (dry_run, mark);
    }
    peak = avatar_arena_peak (dry_run->arena);
  }
  {
    AvatarArena *arena = avatar_arena_new (device, peak, "the bench", error);

    b.ops = arena ? avatar_ops_new (device, arena, error) : NULL;
    if (!b.ops)
      return FALSE;
  }
  watcher = g_thread_new ("watch", watch, &w);
  done = avatar_weights_set_schedule (weights, b.ops, precompute, error)
      && avatar_window_precompute (&b.window, b.ops, error);
  prepare = (g_get_monotonic_time () - start) * 1e-6;
  done = done && avatar_weights_set_schedule (weights, b.ops, forward, error);
  if (done) {
    begin (&b, b.ops, audio);
    avatar_window_reset_caches (&b.window, FRAMES, 1);
    load = timed_step (&b, 0, x, v); /* loads, and builds the libraries' plans */
    if (b.dump)
      dump ("velocity", b.v, &b);
    b.dump = NULL;
    avatar_window_reset_caches (&b.window, FRAMES, 1);
    for (guint i = 0; i < runs; i++) {
      times[i] = timed_step (&b, row->guided ? i : 1, x, v);
      total += times[i];
      if (b.window.is_full[row->guided ? i : 1]) {
        n_full++;
        full += times[i];
      }
      if (!row->guided && total > ENOUGH)
        runs = i + 1;
    }
    done = avatar_ops_check (b.ops, error);
  }
  g_atomic_int_set (&w.quit, 1);
  g_thread_join (watcher);
  avatar_device_get_memory (device, &memory);
  avatar_weights_get_stats (weights, &stats);
  if (done)
    g_print ("{\"row\": \"%s\", \"seconds\": %.4f, \"best\": %.4f, \"runs\": %u, \"full\": %u, "
             "\"prepare\": %.2f, \"first\": %.2f, \"arena_mib\": %.1f, \"ledger_mib\": %.1f, "
             "\"driver_mib\": %.1f, \"budget_mib\": %" G_GUINT64_FORMAT
             ", \"slots\": %u, \"resident\": %u, \"units\": %u, \"finite\": %s, \"sum\": %.1f, "
             "\"check\": \"%08x\"}\n",
        name, full / n_full, times[0], runs, n_full, prepare, load, peak / 1048576.,
        memory.peak / 1048576., w.peak / 1048576., row->budget, stats.slots, stats.resident,
        stats.groups, is_finite (v, n) ? "true" : "false", total,
        g_bytes_hash (g_bytes_new_static (v, n * sizeof (float))));
  avatar_ops_finish (b.ops);
  avatar_window_remove_steps (&b.window);
  g_clear_pointer (&weights, avatar_weights_free);
  avatar_ops_free (b.ops);
  g_free (b.conditions.reference);
  g_free (b.conditions.faces);
  return done;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open ("released", &error);
  g_autoptr (AvatarDevice) device = NULL;
  g_autoptr (GHashTable) table = NULL;
  GBytes *memory;
  FILE *dump_file = NULL;
  gint64 start = g_get_monotonic_time ();
  int failed = 0;

  if (argc < 3) {
    g_printerr ("bench-gpu DEVICE [--dump FILE] WxH/PRECISION/BUDGET_MIB[/guided[-CACHE]] ...\n");
    return EXIT_FAILURE;
  }
  device = avatar_device_open (argv[1], &error);
  if (!device) {
    g_printerr ("%s\n", error->message);
    return 77;
  }
  table = random_weights (model, &memory);
  g_printerr ("%s; random weights in %.1f s\n", avatar_device_get_description (device),
      (g_get_monotonic_time () - start) * 1e-6);
  for (int i = 2; i < argc; i++) {
    Row row;

    if (strcmp (argv[i], "--dump") == 0 && i + 2 < argc) {
      dump_file = fopen (argv[++i], "wb");
      if (!dump_file)
        g_error ("%s cannot be written", argv[i]);
      continue;
    }
    if (!parse_row (argv[i], &row)) {
      g_printerr ("\"%s\": expected WxH/PRECISION/BUDGET_MIB[/guided[-CACHE]]\n", argv[i]);
      return EXIT_FAILURE;
    }
    if (!run_row (model, table, device, &row, argv[i], dump_file, &error)) {
      g_print ("{\"row\": \"%s\", \"error\": \"%s\"}\n", argv[i], error->message);
      g_clear_error (&error);
      failed++;
    }
    if (dump_file)
      fclose (dump_file);
    dump_file = NULL;
  }
  g_bytes_unref (memory);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
