/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transformer against whole forwards of upstream's own module on random weights. */
#include "tests/golden/golden.h"

#include "engine/denoise/transformer.h"

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

typedef struct
{
  AvatarTensor x, reference, states, mask, pooled, audio, face, t;
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
  AvatarAudioKV audio_kv;
  AvatarTensor velocity, x;

  for (gint64 i = 0; i < in->mask.shape[0]; i++) {
    mask[i] = avatar_tensor_f32 (in->mask)[i] != 0;
    text.used += mask[i];
  }
  avatar_transformer_modulate (model, ops, &step, 1);
  avatar_transformer_refine (model, ops, &step, 1);
  avatar_transformer_embed_reference (model, ops, in->reference.data, in->reference.shape[1],
      in->face.data, frames, h, w, &reference_tokens);
  avatar_transformer_project_audio (model, ops, in->audio.data, in->audio.shape[0], &audio_kv);
  velocity = avatar_ops_alloc_as (ops, AVATAR_F32, 4, c, frames, h, w);
  x = avatar_ops_alloc_as (ops, AVATAR_F32, 4, c, frames, h, w);
  avatar_op_upload (ops, x, in->x.data);
  avatar_transformer_forward (model, ops, velocity,
      &(AvatarForwardInput){ .x = x,
          .step = &step,
          .reference_tokens = &reference_tokens,
          .audio_kv = &audio_kv,
          .face_scale = face_scale });
  avatar_op_download (ops, out, velocity);
  avatar_ops_release (ops, mark);
}

static void
test_forward (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarSafetensors) file = golden_open ("upstream/transformer_forward.safetensors");
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", &error);
  g_autoptr (AvatarOps) dry_run = avatar_ops_new (device, avatar_arena_new_dry_run (), NULL);
  g_autoptr (AvatarOps) ops = NULL;
  AvatarTransformerConfig config = make_config (file);
  g_autoptr (AvatarTransformerWeights) params = avatar_transformer_weights_new (&config);
  g_autoptr (AvatarWeights) weights
      = golden_weights (file, "weights.", device, AVATAR_COMPONENT_TRANSFORMER, params->list);
  AvatarTransformer model = { .config = &config, .weights = weights, .params = params };
  Taps taps = { file, 0 };
  Inputs in = read_inputs (file);
  gsize n = avatar_tensor_n (in.x), predicted;
  g_autofree float *out = g_new (float, n);

  run (&model, dry_run, &in, 1, NULL);
  predicted = avatar_arena_peak (dry_run->arena);
  ops = avatar_ops_new (device, avatar_arena_new (device, predicted, "test", &error), &error);
  model.tap = compare_tap;
  model.tap_data = &taps;
  run (&model, ops, &in, 1, out);
  golden_compare (file, "out.full", out, n, LIMIT);
  g_assert_cmpuint (taps.n_compared, ==, 6);
  g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, predicted);
  g_assert_cmpfloat (ops->flops, ==, dry_run->flops);
  model.tap = NULL;
  /* a few rows at a time: less memory, the same velocity */
  ops->row_chunk = dry_run->row_chunk = 5;
  avatar_arena_free (dry_run->arena);
  dry_run->arena = avatar_arena_new_dry_run ();
  run (&model, dry_run, &in, 1, NULL);
  g_assert_cmpuint (avatar_arena_peak (dry_run->arena), <, predicted);
  run (&model, ops, &in, 1, out);
  golden_compare (file, "out.full", out, n, LIMIT);
  run (&model, ops, &in, 0.6, out);
  golden_compare (file, "out.full_face_0.6", out, n, LIMIT);
  memset (in.audio.data, 0, avatar_tensor_bytes (in.audio));
  run (&model, ops, &in, 1, out);
  golden_compare (file, "out.full_no_audio", out, n, LIMIT);
  g_assert_true (avatar_ops_check (ops, &error));
  g_free (in.x.data);
  g_free (in.reference.data);
  g_free (in.states.data);
  g_free (in.mask.data);
  g_free (in.pooled.data);
  g_free (in.audio.data);
  g_free (in.face.data);
  g_free (in.t.data);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/transformer/forward", test_forward);
  return g_test_run ();
}
