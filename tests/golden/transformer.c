/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transformer against whole forwards of upstream's own module on random weights. */
#include "tests/golden/golden.h"

#include "engine/denoise/transformer.h"

#include <math.h>
#include <string.h>

#define LIMIT 1e-4

typedef struct
{
  AvatarSafetensors *file;
  guint n_compared;
} Taps;

static void
compare_tap (const char *name, AvatarTensor value, gpointer data)
{
  static const char *const known[]
      = { "vec", "audio_proj", "txt_in", "double_0", "single_0", "single_1" };
  Taps *taps = data;

  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if (strcmp (name, known[i]) == 0) {
      g_autofree char *golden
          = g_strdup_printf (strcmp (name, "double_0") ? "out.full.%s" : "out.full.%s.img", name);

      /* rows beyond the valid text are not computed by us and come last */
      golden_compare (taps->file, golden, value.data, avatar_tensor_n (value), LIMIT);
      taps->n_compared++;
    }
}

static AvatarTransformerConfig
make_config (AvatarSafetensors *file)
{
  AvatarTransformerConfig c = {
    .patch = { 1, 2, 2 },
    .in_channels = 16,
    .out_channels = 16,
    .hidden = 32,
    .heads = 2,
    .head_dim = 16,
    .n_double = 4,
    .n_single = 3,
    .rope_dim = { 4, 6, 6 },
    .rope_theta = 256,
    .text_dim = 20,
    .pooled_dim = 12,
    .refiner_depth = 2,
    .frequency_dim = 256,
    .audio_steps = 10,
    .audio_states = 3,
    .audio_channels = 4,
    .audio_tokens = 4,
    .n_adapters = 2,
    .adapter_after = { 1, 3 },
  };
  AvatarTensorSource t;

  g_assert_true (avatar_safetensors_get (file, "weights.audio_proj.proj1.weight", &t));
  c.audio_intermediate = t.shape[0];
  g_assert_true (avatar_safetensors_get (file, "weights.audio_adapter_blocks.0.to_q.weight", &t));
  c.adapter_dim = t.shape[0];
  g_assert_true (avatar_safetensors_get (file, "weights.single_blocks.0.linear2.weight", &t));
  c.mlp = t.shape[1] - c.hidden;
  return c;
}

/* @second: features of a second speaker, or no tensor; @face then has the masks of both */
typedef struct
{
  AvatarTensor x, reference, states, mask, pooled, audio, second, face, t;
} Inputs;

static Inputs
read_inputs (AvatarSafetensors *file)
{
  Inputs in = {
    .x = golden_get (file, "in.x"),
    .reference = golden_get (file, "in.ref_latents"),
    .states = golden_get (file, "in.text_states"),
    .mask = golden_get (file, "in.text_mask"),
    .pooled = golden_get (file, "in.text_states_2"),
    .audio = golden_get (file, "in.audio_prompts"),
    .face = golden_get (file, "in.face_mask"),
    .t = golden_get (file, "in.t"),
  };

  in.pooled = avatar_tensor_reshape (in.pooled, 2, (gint64) 1, in.pooled.shape[0]);
  in.audio = avatar_tensor_reshape (in.audio, 2, in.audio.shape[0],
      avatar_tensor_n (in.audio) / in.audio.shape[0]);
  return in;
}

static void
inputs_clear (Inputs *in)
{
  AvatarTensor *all[] = { &in->x, &in->reference, &in->states, &in->mask, &in->pooled, &in->audio,
    &in->second, &in->face, &in->t };

  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    g_free (all[i]->data);
}

static void
run (AvatarTransformer *model, AvatarOps *ops, const Inputs *in, double face_scale, float *out)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 c = in->x.shape[0], frames = in->x.shape[1], h = in->x.shape[2], w = in->x.shape[3];
  g_autofree guint8 *mask = g_new0 (guint8, in->mask.shape[0]);
  g_autofree float *modulation = g_new (float, avatar_transformer_modulation_n (model->config));
  g_autofree float *refined = g_new (float, in->mask.shape[0] * model->config->hidden);
  AvatarText text = { .states = in->states.data,
    .pooled = in->pooled.data,
    .mask = mask,
    .n = in->mask.shape[0] };
  AvatarStepConditioning step = { .t = avatar_tensor_f32 (in->t)[0],
    .prompt = &text,
    .motion_exp = 30,
    .motion_pose = 25,
    .fps = 25,
    .modulation = modulation,
    .text = refined };
  AvatarReferenceTokens reference_tokens;
  AvatarAudioKV audio_kv[2];
  AvatarTensor velocity, x;

  for (gint64 i = 0; i < in->mask.shape[0]; i++) {
    mask[i] = avatar_tensor_f32 (in->mask)[i] != 0;
    text.used += mask[i];
  }
  avatar_transformer_modulate (model, ops, &step, 1);
  avatar_transformer_refine (model, ops, &step, 1);
  avatar_transformer_embed_reference (model, ops,
      &(AvatarReferenceInput){ .latents = in->reference.data,
          .faces = in->face.data,
          .n_latents = in->reference.shape[1],
          .n_speakers = in->second.rank ? 2 : 1,
          .frames = frames,
          .h8 = h,
          .w8 = w },
      &reference_tokens);
  avatar_transformer_project_audio (model, ops, in->audio.data, in->audio.shape[0], &audio_kv[0]);
  if (in->second.rank)
    avatar_transformer_project_audio (model, ops, in->second.data, in->second.shape[0],
        &audio_kv[1]);
  velocity = avatar_ops_alloc_as (ops, AVATAR_F32, 4, c, frames, h, w);
  x = avatar_ops_alloc_as (ops, AVATAR_F32, 4, c, frames, h, w);
  avatar_op_upload (ops, x, in->x.data);
  avatar_transformer_forward (model, ops, velocity,
      &(AvatarForwardInput){ .x = x,
          .step = &step,
          .reference_tokens = &reference_tokens,
          .audio_kv = audio_kv,
          .face_scale = face_scale });
  avatar_op_download (ops, out, velocity);
  avatar_ops_release (ops, mark);
}

/* The module with upstream's weights and inputs. */
typedef struct
{
  AvatarSafetensors *file;
  AvatarDevice *device;
  AvatarOps *dry_run;
  AvatarTransformerConfig config;
  AvatarTransformer model;
  Inputs in;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  AvatarTransformerWeights *params;

  f->file = golden_open ("upstream/transformer_forward.safetensors");
  f->device = avatar_device_open ("cpu", NULL);
  f->dry_run = avatar_ops_new (f->device, avatar_arena_new_dry_run (), NULL);
  f->config = make_config (f->file);
  params = avatar_transformer_weights_new (&f->config);
  f->model = (AvatarTransformer){ .config = &f->config,
    .weights
    = golden_weights (f->file, "weights.", f->device, AVATAR_COMPONENT_TRANSFORMER, params->list),
    .params = params };
  f->in = read_inputs (f->file);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  inputs_clear (&f->in);
  avatar_weights_free (f->model.weights);
  avatar_transformer_weights_free ((AvatarTransformerWeights *) f->model.params);
  avatar_ops_free (f->dry_run);
  avatar_device_unref (f->device);
  avatar_safetensors_free (f->file);
}

static void
test_forward (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarOps) ops = NULL;
  Taps taps = { f->file, 0 };
  gsize n = avatar_tensor_n (f->in.x), predicted;
  g_autofree float *out = g_new (float, n);

  run (&f->model, f->dry_run, &f->in, 1, NULL);
  predicted = avatar_arena_peak (f->dry_run->arena);
  ops = avatar_ops_new (f->device, avatar_arena_new (f->device, predicted, "test", &error), &error);
  f->model.tap = compare_tap;
  f->model.tap_data = &taps;
  run (&f->model, ops, &f->in, 1, out);
  golden_compare (f->file, "out.full", out, n, LIMIT);
  g_assert_cmpuint (taps.n_compared, ==, 6);
  g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, predicted);
  g_assert_cmpfloat (ops->flops, ==, f->dry_run->flops);
  f->model.tap = NULL;
  /* a few rows at a time: less memory, the same velocity */
  ops->row_chunk = f->dry_run->row_chunk = 5;
  avatar_arena_free (f->dry_run->arena);
  f->dry_run->arena = avatar_arena_new_dry_run ();
  run (&f->model, f->dry_run, &f->in, 1, NULL);
  g_assert_cmpuint (avatar_arena_peak (f->dry_run->arena), <, predicted);
  run (&f->model, ops, &f->in, 1, out);
  golden_compare (f->file, "out.full", out, n, LIMIT);
  run (&f->model, ops, &f->in, 0.6, out);
  golden_compare (f->file, "out.full_face_0.6", out, n, LIMIT);
  memset (f->in.audio.data, 0, avatar_tensor_bytes (f->in.audio));
  run (&f->model, ops, &f->in, 1, out);
  golden_compare (f->file, "out.full_no_audio", out, n, LIMIT);
  g_assert_true (avatar_ops_check (ops, &error));
}

/**
 * Adapter: first audio adapter of the model, in double precision
 * @norm1, @norm2: scale and offset; @to_q [a, d]; @to_kv [2 a, d]; @to_out [d, a]
 */
typedef struct
{
  AvatarTensor norm1[2], norm2[2], to_q, to_kv, to_out;
} Adapter;

static Adapter
read_adapter (AvatarSafetensors *file)
{
  return (Adapter){
    .norm1 = { golden_get (file, "weights.audio_adapter_blocks.0.norm1.weight"),
        golden_get (file, "weights.audio_adapter_blocks.0.norm1.bias") },
    .norm2 = { golden_get (file, "weights.audio_adapter_blocks.0.norm2.weight"),
        golden_get (file, "weights.audio_adapter_blocks.0.norm2.bias") },
    .to_q = golden_get (file, "weights.audio_adapter_blocks.0.to_q.weight"),
    .to_kv = golden_get (file, "weights.audio_adapter_blocks.0.to_kv.weight"),
    .to_out = golden_get (file, "weights.audio_adapter_blocks.0.to_out.weight"),
  };
}

static void
adapter_clear (Adapter *a)
{
  for (guint i = 0; i < 2; i++) {
    g_free (a->norm1[i].data);
    g_free (a->norm2[i].data);
  }
  g_free (a->to_q.data);
  g_free (a->to_kv.data);
  g_free (a->to_out.data);
}

static void
norm (const float *x, gint64 n, const AvatarTensor *affine, double *y)
{
  double mean = 0, variance = 0;

  for (gint64 i = 0; i < n; i++)
    mean += x[i] / n;
  for (gint64 i = 0; i < n; i++)
    variance += (x[i] - mean) * (x[i] - mean) / n;
  for (gint64 i = 0; i < n; i++)
    y[i] = (x[i] - mean) / sqrt (variance + 1e-5) * avatar_tensor_f32 (affine[0])[i]
        + avatar_tensor_f32 (affine[1])[i];
}

/* Computes row @r of the product of @w and @x. */
static double
product (AvatarTensor w, gint64 r, const double *x)
{
  double sum = 0;

  for (gint64 i = 0; i < w.shape[1]; i++)
    sum += avatar_tensor_f32 (w)[r * w.shape[1] + i] * x[i];
  return sum;
}

/* Adds @mask times the output of the adapter for @token to @y, in loops over the 16 audio tokens
 * of latent frame @t. @audio: projected tokens of the video frames, 4 each, [d] */
static void
add_voice (const Adapter *a, const float *token, const float *audio, gint64 t, double mask,
    double *y)
{
  gint64 d = a->to_q.shape[1], n = a->to_q.shape[0];
  g_autofree double *h = g_new (double, d), *q = g_new (double, n);
  g_autofree double *kv = g_new (double, 16 * 2 * n), *o = g_new0 (double, n);
  double weights[16], sum = 0;

  norm (token, d, a->norm2, h);
  for (gint64 i = 0; i < n; i++)
    q[i] = product (a->to_q, i, h);
  for (gint64 j = 0; j < 16; j++) {
    gint64 frame = MAX (4 * t - 3 + j / 4, 0);

    weights[j] = 0;
    norm (audio + (4 * frame + j % 4) * d, d, a->norm1, h);
    for (gint64 i = 0; i < 2 * n; i++)
      kv[j * 2 * n + i] = product (a->to_kv, i, h);
    for (gint64 i = 0; i < n; i++)
      weights[j] += q[i] * kv[j * 2 * n + i] / sqrt (n);
    sum += weights[j] = exp (weights[j]);
  }
  for (gint64 j = 0; j < 16; j++)
    for (gint64 i = 0; i < n; i++)
      o[i] += weights[j] / sum * kv[j * 2 * n + n + i];
  for (gint64 i = 0; i < d; i++)
    y[i] += mask * product (a->to_out, i, o);
}

/* Tokens that are kept from a forward: those after the first adapter, and the projected audio of
 * both speakers. */
typedef struct
{
  float *tokens, *audio[2];
  guint n_audio;
} Kept;

static void
keep_tap (const char *name, AvatarTensor value, gpointer data)
{
  Kept *kept = data;

  if (strcmp (name, "double_1") == 0)
    kept->tokens = g_memdup2 (value.data, avatar_tensor_bytes (value));
  else if (strcmp (name, "audio_proj") == 0)
    kept->audio[kept->n_audio++] = g_memdup2 (value.data, avatar_tensor_bytes (value));
}

static void
kept_clear (Kept *kept)
{
  g_free (kept->tokens);
  g_free (kept->audio[0]);
  g_free (kept->audio[1]);
}

/* Compares the tokens after the first adapter with the sum over both speakers of mask times
 * adapter, in double precision. @masks: [2, h8, w8] */
static void
compare_voices (const Adapter *a, const Inputs *in, const Kept *before, const Kept *after,
    const float *masks)
{
  gint64 d = a->to_q.shape[1], h8 = in->x.shape[2], w8 = in->x.shape[3], s = h8 / 2 * (w8 / 2);
  g_autofree double *y = g_new (double, d);
  double worst = 0, largest = 0;

  for (gint64 i = 0; i < s + in->x.shape[1] * s; i++) {
    const float *token = before->tokens + i * d;
    gint64 cell = i % s / (w8 / 2) * 2 * w8 + i % (w8 / 2) * 2;

    for (gint64 c = 0; c < d; c++)
      y[c] = token[c];
    for (guint k = 0; i >= s && k < 2; k++)
      add_voice (a, token, after->audio[k], i / s - 1, masks[k * h8 * w8 + cell], y);
    for (gint64 c = 0; c < d; c++) {
      worst = MAX (worst, fabs (y[c] - after->tokens[i * d + c]));
      largest = MAX (largest, fabs (y[c] - token[c]));
    }
  }
  g_assert_cmpfloat (largest, >, 1e-2);
  g_assert_cmpfloat (worst, <, 1e-4 * largest);
}

/* Fills the masks of two speakers: the left and the right part, with a column for both. */
static void
fill_masks (float *masks, gint64 h, gint64 w)
{
  for (gint64 i = 0; i < h * w; i++) {
    gint64 x = i % w, middle = w / 4 * 2;

    masks[i] = x < middle ? 1 : x == middle ? .25f : 0;
    masks[h * w + i] = x > middle ? 1 : x == middle ? .5f : 0;
  }
}

static void
test_speakers (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarOps) ops = NULL;
  gsize n = avatar_tensor_n (f->in.x), cells = avatar_tensor_n (f->in.face);
  g_autofree float *out = g_new (float, n), *masks = g_new0 (float, 2 * cells);
  Adapter adapter = read_adapter (f->file);
  Kept before = { 0 }, after = { 0 };

  f->in.second = golden_get (f->file, "in.audio_prompts");
  f->in.second
      = avatar_tensor_reshape (f->in.second, 2, f->in.audio.shape[0], f->in.audio.shape[1]);
  for (gint64 i = 0; i < avatar_tensor_n (f->in.second); i++)
    ((float *) f->in.second.data)[i] = -avatar_tensor_f32 (f->in.audio)[i] * (1 + i % 3);
  g_free (f->in.face.data);
  f->in.face.data = masks;
  run (&f->model, f->dry_run, &f->in, 1, NULL);
  ops = avatar_ops_new (f->device,
      avatar_arena_new (f->device, avatar_arena_peak (f->dry_run->arena), "test", &error), &error);
  f->model.tap = keep_tap;
  f->model.tap_data = &before;
  run (&f->model, ops, &f->in, 1, out); /* masks of zeros: without adapters */
  fill_masks (masks, f->in.x.shape[2], f->in.x.shape[3]);
  f->model.tap_data = &after;
  run (&f->model, ops, &f->in, 1, out);
  g_assert_true (avatar_ops_check (ops, &error));
  g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, avatar_arena_peak (f->dry_run->arena));
  compare_voices (&adapter, &f->in, &before, &after, masks);
  kept_clear (&before);
  kept_clear (&after);
  adapter_clear (&adapter);
  f->in.face.data = NULL;
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/transformer/forward", Fixture, NULL, setup, test_forward, teardown);
  g_test_add ("/transformer/speakers", Fixture, NULL, setup, test_speakers, teardown);
  return g_test_run ();
}
