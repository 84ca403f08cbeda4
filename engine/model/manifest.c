/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parameter tables of docs/dev/spec/denoise.md 2.1, 3.3 and
 * docs/dev/spec/vae-text-face-formats.md 1.2, 2.2, 3, for any sizes. Names are those of the
 * published checkpoints. */
#include "engine/model/manifest.h"

#include <stdarg.h>

static void
entry_clear (gpointer data)
{
  g_free (((AvatarManifestEntry *) data)->name);
}

/* Takes ownership of @name. The shape follows as @rank values of type gint64. */
static void
want (GArray *list, char *name, guint rank, ...)
{
  AvatarManifestEntry entry = { .name = name, .rank = rank };
  va_list args;

  va_start (args, rank);
  for (guint i = 0; i < rank; i++)
    entry.shape[i] = va_arg (args, gint64);
  va_end (args);
  g_array_append_val (list, entry);
}

static void
want_bias (GArray *list, const char *name, gint64 n)
{
  want (list, g_strconcat (name, ".bias", NULL), 1, n);
}

static void
want_matrix (GArray *list, const char *name, gint64 in, gint64 out)
{
  want (list, g_strconcat (name, ".weight", NULL), 2, out, in);
}

static void
want_vector (GArray *list, const char *name, gint64 n)
{
  want (list, g_strconcat (name, ".weight", NULL), 1, n);
}

/* Adds module "a.b" for "a" and "b": y [out] = W [out, in] x + b. */
static void
want_linear (GArray *list, const char *prefix, const char *module, gint64 in, gint64 out)
{
  g_autofree char *name = g_strconcat (prefix, module, NULL);

  want_matrix (list, name, in, out);
  want_bias (list, name, out);
}

static void
want_norm (GArray *list, const char *prefix, const char *module, gint64 n)
{
  g_autofree char *name = g_strconcat (prefix, module, NULL);

  want_vector (list, name, n);
  want_bias (list, name, n);
}

/* Adds the time embedder: sinusoid -> linear -> SiLU -> linear. */
static void
want_embedder (GArray *list, const char *prefix, gint64 frequencies, gint64 width)
{
  want_linear (list, prefix, ".mlp.0", frequencies, width);
  want_linear (list, prefix, ".mlp.2", width, width);
}

static void
want_mlp (GArray *list, const char *prefix, const char *module, gint64 width, gint64 inner)
{
  g_autofree char *name = g_strconcat (prefix, module, NULL);

  want_linear (list, name, ".fc1", width, inner);
  want_linear (list, name, ".fc2", inner, width);
}

static void
transformer_text (GArray *list, const AvatarTransformerConfig *c)
{
  gint64 d = c->hidden;

  want_linear (list, "txt_in", ".input_embedder", c->text_dim, d);
  want_embedder (list, "txt_in.t_embedder", c->frequency_dim, d);
  want_linear (list, "txt_in", ".c_embedder.linear_1", c->text_dim, d);
  want_linear (list, "txt_in", ".c_embedder.linear_2", d, d);
  for (guint i = 0; i < c->refiner_depth; i++) {
    g_autofree char *p = g_strdup_printf ("txt_in.individual_token_refiner.blocks.%u", i);

    want_norm (list, p, ".norm1", d);
    want_norm (list, p, ".norm2", d);
    want_linear (list, p, ".self_attn_qkv", d, 3 * d);
    want_linear (list, p, ".self_attn_proj", d, d);
    want_mlp (list, p, ".mlp", d, c->mlp);
    want_linear (list, p, ".adaLN_modulation.1", d, 2 * d);
  }
}

static void
transformer_blocks (GArray *list, const AvatarTransformerConfig *c)
{
  gint64 d = c->hidden;

  for (guint i = 0; i < 2 * c->n_double; i++) {
    g_autofree char *p = g_strdup_printf ("double_blocks.%u.%s", i / 2, i % 2 ? "txt" : "img");
    g_autofree char *q = g_strconcat (p, "_attn_q_norm", NULL);
    g_autofree char *k = g_strconcat (p, "_attn_k_norm", NULL);

    want_linear (list, p, "_mod.linear", d, 6 * d);
    want_linear (list, p, "_attn_qkv", d, 3 * d);
    want_vector (list, q, c->head_dim);
    want_vector (list, k, c->head_dim);
    want_linear (list, p, "_attn_proj", d, d);
    want_mlp (list, p, "_mlp", d, c->mlp);
  }
  for (guint i = 0; i < c->n_single; i++) {
    g_autofree char *p = g_strdup_printf ("single_blocks.%u", i);
    g_autofree char *q = g_strconcat (p, ".q_norm", NULL);
    g_autofree char *k = g_strconcat (p, ".k_norm", NULL);

    want_linear (list, p, ".linear1", d, 3 * d + c->mlp);
    want_linear (list, p, ".linear2", d + c->mlp, d);
    want_vector (list, q, c->head_dim);
    want_vector (list, k, c->head_dim);
    want_linear (list, p, ".modulation.linear", d, 3 * d);
  }
}

static void
transformer_audio (GArray *list, const AvatarTransformerConfig *c)
{
  gint64 d = c->hidden, a = c->adapter_dim, m = c->audio_intermediate;

  want_linear (list, "audio_proj", ".proj1",
      (gint64) c->audio_steps * c->audio_states * c->audio_channels, m);
  want_linear (list, "audio_proj", ".proj2", m, m);
  want_linear (list, "audio_proj", ".proj3", m, c->audio_tokens * d);
  want_norm (list, "audio_proj", ".norm", d);
  for (guint i = 0; i < c->n_adapters; i++) {
    g_autofree char *p = g_strdup_printf ("audio_adapter_blocks.%u", i);
    g_autofree char *q = g_strconcat (p, ".to_q", NULL);
    g_autofree char *kv = g_strconcat (p, ".to_kv", NULL);
    g_autofree char *out = g_strconcat (p, ".to_out", NULL);

    want_norm (list, p, ".norm1", d);
    want_norm (list, p, ".norm2", d);
    want_matrix (list, q, d, a);
    want_matrix (list, kv, d, 2 * a);
    want_matrix (list, out, a, d);
  }
}

static void
transformer (GArray *list, const AvatarTransformerConfig *c)
{
  gint64 d = c->hidden, f = c->frequency_dim;
  gint64 t = c->patch[0], y = c->patch[1], x = c->patch[2];

  for (guint i = 0; i < 2; i++) {
    const char *name = i ? "ref_in.proj" : "img_in.proj";

    want (list, g_strconcat (name, ".weight", NULL), 5, d, (gint64) c->in_channels, t, y, x);
    want_bias (list, name, d);
  }
  want_embedder (list, "time_in", f, d);
  want_linear (list, "vector_in", ".in_layer", c->pooled_dim, d);
  want_linear (list, "vector_in", ".out_layer", d, d);
  want_embedder (list, "motion_exp", f, d / 4);
  want_embedder (list, "motion_pose", f, d / 4);
  want_embedder (list, "fps_proj", f, d);
  want_linear (list, "before_proj", "", d, d);
  transformer_text (list, c);
  transformer_blocks (list, c);
  want_linear (list, "final_layer", ".linear", d, t * y * x * c->out_channels);
  want_linear (list, "final_layer", ".adaLN_modulation.1", d, 2 * d);
  transformer_audio (list, c);
}

static void
want_conv (GArray *list, const char *prefix, const char *module, gint64 in, gint64 out, gint64 k)
{
  g_autofree char *name = g_strconcat (prefix, module, NULL);

  want (list, g_strconcat (name, ".weight", NULL), 5, out, in, k, k, k);
  want_bias (list, name, out);
}

static void
want_resnet (GArray *list, const char *prefix, const char *module, guint i, gint64 in, gint64 out)
{
  g_autofree char *p = g_strdup_printf ("%s%s.resnets.%u", prefix, module, i);

  want_norm (list, p, ".norm1", in);
  want_conv (list, p, ".conv1.conv", in, out, 3);
  want_norm (list, p, ".norm2", out);
  want_conv (list, p, ".conv2.conv", out, out, 3);
  if (in != out)
    want_conv (list, p, ".conv_shortcut.conv", in, out, 1);
}

static void
want_mid_block (GArray *list, const char *prefix, gint64 c)
{
  g_autofree char *attention = g_strconcat (prefix, ".mid_block.attentions.0", NULL);

  want_resnet (list, prefix, ".mid_block", 0, c, c);
  want_resnet (list, prefix, ".mid_block", 1, c, c);
  want_norm (list, attention, ".group_norm", c);
  want_linear (list, attention, ".to_q", c, c);
  want_linear (list, attention, ".to_k", c, c);
  want_linear (list, attention, ".to_v", c, c);
  want_linear (list, attention, ".to_out.0", c, c);
}

/* Returns TRUE if stage @i of an encoder or decoder resizes in space or time. */
static gboolean
stage_resizes (const AvatarVaeConfig *c, guint i)
{
  guint n_space = g_bit_storage (c->spatial_ratio) - 1;
  guint n_time = g_bit_storage (c->temporal_ratio) - 1;

  return i < n_space || (i + 1 + n_time >= c->n_stages && i + 1 < c->n_stages);
}

static void
vae (GArray *list, const AvatarVaeConfig *c)
{
  gint64 z = c->latent_channels, last = c->channels[c->n_stages - 1];

  want_conv (list, "encoder", ".conv_in.conv", c->in_channels, c->channels[0], 3);
  want_conv (list, "decoder", ".conv_in.conv", z, last, 3);
  for (guint i = 0; i < c->n_stages; i++) {
    g_autofree char *down = g_strdup_printf (".down_blocks.%u", i);
    g_autofree char *up = g_strdup_printf (".up_blocks.%u", i);
    gint64 out = c->channels[i], in = c->channels[i ? i - 1 : 0];
    gint64 up_out = c->channels[c->n_stages - 1 - i];
    gint64 up_in = c->channels[c->n_stages - (i ? i : 1)];

    for (guint j = 0; j < c->layers_per_block; j++)
      want_resnet (list, "encoder", down, j, j ? out : in, out);
    for (guint j = 0; j < c->layers_per_block + 1; j++)
      want_resnet (list, "decoder", up, j, j ? up_out : up_in, up_out);
    if (stage_resizes (c, i)) {
      g_autofree char *sampler = g_strconcat ("encoder", down, ".downsamplers.0.conv.conv", NULL);
      g_autofree char *upsampler = g_strconcat ("decoder", up, ".upsamplers.0.conv.conv", NULL);

      want_conv (list, sampler, "", out, out, 3);
      want_conv (list, upsampler, "", up_out, up_out, 3);
    }
  }
  want_mid_block (list, "encoder", last);
  want_mid_block (list, "decoder", last);
  want_norm (list, "encoder", ".conv_norm_out", last);
  want_norm (list, "decoder", ".conv_norm_out", c->channels[0]);
  want_conv (list, "encoder", ".conv_out.conv", last, 2 * z, 3);
  want_conv (list, "decoder", ".conv_out.conv", c->channels[0], c->out_channels, 3);
  want_conv (list, "quant_conv", "", 2 * z, 2 * z, 1);
  want_conv (list, "post_quant_conv", "", z, z, 1);
}

static void
whisper (GArray *list, const AvatarWhisperConfig *c)
{
  gint64 d = c->width;

  want (list, g_strdup ("conv1.weight"), 3, d, (gint64) c->mels, (gint64) 3);
  want_bias (list, "conv1", d);
  want (list, g_strdup ("conv2.weight"), 3, d, d, (gint64) 3);
  want_bias (list, "conv2", d);
  want_matrix (list, "embed_positions", d, c->positions);
  for (guint i = 0; i < c->layers; i++) {
    g_autofree char *p = g_strdup_printf ("layers.%u", i);
    g_autofree char *k = g_strconcat (p, ".self_attn.k_proj", NULL);

    want_linear (list, p, ".self_attn.q_proj", d, d);
    want_matrix (list, k, d, d);
    want_linear (list, p, ".self_attn.v_proj", d, d);
    want_linear (list, p, ".self_attn.out_proj", d, d);
    want_norm (list, p, ".self_attn_layer_norm", d);
    want_linear (list, p, ".fc1", d, c->ffn);
    want_linear (list, p, ".fc2", c->ffn, d);
    want_norm (list, p, ".final_layer_norm", d);
  }
  want_norm (list, "layer_norm", "", d);
}

static void
text (GArray *list, const AvatarConfig *c)
{
  gint64 d = c->transformer.text_dim, pooled = c->transformer.pooled_dim;

  want (list, g_strdup ("byte_embed"), 2, (gint64) 256, d);
  want (list, g_strdup ("byte_embed_2"), 2, (gint64) 256, pooled);
  want (list, g_strdup ("pos_embed"), 2, (gint64) c->text.max_states, d);
}

/* Adds the layers of CLIP with @prefix, of the text encoder or of the vision tower. */
static void
clip_layers (GArray *list, const char *prefix, const AvatarTowerConfig *c, guint layers)
{
  gint64 d = c->hidden;

  for (guint i = 0; i < layers; i++) {
    g_autofree char *p = g_strdup_printf ("%sencoder.layers.%u", prefix, i);

    want_norm (list, p, ".layer_norm1", d);
    want_norm (list, p, ".layer_norm2", d);
    want_linear (list, p, ".self_attn.q_proj", d, d);
    want_linear (list, p, ".self_attn.k_proj", d, d);
    want_linear (list, p, ".self_attn.v_proj", d, d);
    want_linear (list, p, ".self_attn.out_proj", d, d);
    want_mlp (list, p, ".mlp", d, c->mlp);
  }
}

/* Adds LLaMA's layers up to hidden_states[-3], and the layers of the tower up to
 * hidden_states[-2]. */
static void
llava (GArray *list, const AvatarLlavaConfig *c)
{
  static const char tower[] = "vision_tower.vision_model.";
  gint64 d = c->hidden, kv = (gint64) c->kv_heads * c->head_dim, v = c->vision.hidden;
  gint64 patches = (gint64) (c->image / c->patch) * (c->image / c->patch);

  want (list, g_strconcat (tower, "embeddings.class_embedding", NULL), 1, v);
  want (list, g_strconcat (tower, "embeddings.patch_embedding.weight", NULL), 4, v, (gint64) 3,
      (gint64) c->patch, (gint64) c->patch);
  want (list, g_strconcat (tower, "embeddings.position_embedding.weight", NULL), 2, patches + 1, v);
  want_norm (list, tower, "pre_layrnorm", v); /* upstream's spelling */
  clip_layers (list, tower, &c->vision, c->vision.layers - 1);
  want_linear (list, "multi_modal_projector", ".linear_1", v, d);
  want_linear (list, "multi_modal_projector", ".linear_2", d, d);
  want_matrix (list, "language_model.model.embed_tokens", d, c->vocab);
  for (guint i = 0; i + 2 < c->layers; i++) {
    static const char *const norms[] = { "input_layernorm", "post_attention_layernorm" };
    const struct
    {
      const char *name;
      gint64 in, out;
    } matrices[] = { { "self_attn.q_proj", d, d }, { "self_attn.k_proj", d, kv },
      { "self_attn.v_proj", d, kv }, { "self_attn.o_proj", d, d }, { "mlp.gate_proj", d, c->mlp },
      { "mlp.up_proj", d, c->mlp }, { "mlp.down_proj", c->mlp, d } };

    for (guint j = 0; j < G_N_ELEMENTS (norms); j++) {
      g_autofree char *name = g_strdup_printf ("language_model.model.layers.%u.%s", i, norms[j]);

      want_vector (list, name, d);
    }
    for (guint j = 0; j < G_N_ELEMENTS (matrices); j++) {
      g_autofree char *name
          = g_strdup_printf ("language_model.model.layers.%u.%s", i, matrices[j].name);

      want_matrix (list, name, matrices[j].in, matrices[j].out);
    }
  }
}

static void
clip (GArray *list, const AvatarClipConfig *c)
{
  gint64 d = c->tower.hidden;

  want_matrix (list, "embeddings.token_embedding", d, c->vocab);
  want_matrix (list, "embeddings.position_embedding", d, c->positions);
  clip_layers (list, "", &c->tower, c->tower.layers);
  want_norm (list, "final_layer_norm", "", d);
}

GArray *
avatar_manifest_new (const AvatarConfig *config, AvatarComponentKind component)
{
  GArray *list = g_array_new (FALSE, FALSE, sizeof (AvatarManifestEntry));

  g_array_set_clear_func (list, entry_clear);
  switch (component) {
    case AVATAR_COMPONENT_TRANSFORMER:
      transformer (list, &config->transformer);
      break;
    case AVATAR_COMPONENT_VAE:
      vae (list, &config->vae);
      break;
    case AVATAR_COMPONENT_WHISPER:
      whisper (list, &config->whisper);
      break;
    case AVATAR_COMPONENT_TEXT:
      text (list, config);
      break;
    case AVATAR_COMPONENT_LLAVA:
      if (config->llava.layers > 0)
        llava (list, &config->llava);
      break;
    case AVATAR_COMPONENT_CLIP:
      if (config->clip.tower.layers > 0)
        clip (list, &config->clip);
      break;
    default:
      g_assert_not_reached ();
  }
  return list;
}
