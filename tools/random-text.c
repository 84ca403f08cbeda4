/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names and shapes of the text encoders' tensors. */
#include "tools/random-text.h"

#include "engine/formats/tensor-writer.h"

typedef struct
{
  GArray *tensors;
  GStringChunk *names;
} List;

static void
want (List *l, const char *prefix, const char *name, guint rank, const gint64 *shape)
{
  g_autofree char *full = g_strconcat (prefix, name, NULL);
  AvatarNamedTensor t = { g_string_chunk_insert (l->names, full),
    avatar_tensor_of_shape (AVATAR_F16, NULL, rank, shape) };

  g_array_append_val (l->tensors, t);
}

static void
want_matrix (List *l, const char *prefix, const char *name, gint64 out, gint64 in)
{
  want (l, prefix, name, 2, (gint64[]){ out, in });
}

static void
want_vector (List *l, const char *prefix, const char *name, gint64 n)
{
  want (l, prefix, name, 1, &n);
}

static void
want_linear (List *l, const char *prefix, const char *module, gint64 out, gint64 in)
{
  g_autofree char *weight = g_strconcat (module, ".weight", NULL);
  g_autofree char *bias = g_strconcat (module, ".bias", NULL);

  want_matrix (l, prefix, weight, out, in);
  want_vector (l, prefix, bias, out);
}

static void
want_norm (List *l, const char *prefix, const char *module, gint64 n)
{
  g_autofree char *weight = g_strconcat (module, ".weight", NULL);
  g_autofree char *bias = g_strconcat (module, ".bias", NULL);

  want_vector (l, prefix, weight, n);
  want_vector (l, prefix, bias, n);
}

/* Adds the layers of CLIP, for either tower. */
static void
want_clip_layers (List *l, const char *prefix, gint64 n, gint64 d, gint64 mlp)
{
  for (gint64 i = 0; i < n; i++) {
    g_autofree char *p = g_strdup_printf ("%sencoder.layers.%d.", prefix, (int) i);

    want_norm (l, p, "layer_norm1", d);
    want_norm (l, p, "layer_norm2", d);
    want_linear (l, p, "self_attn.q_proj", d, d);
    want_linear (l, p, "self_attn.k_proj", d, d);
    want_linear (l, p, "self_attn.v_proj", d, d);
    want_linear (l, p, "self_attn.out_proj", d, d);
    want_linear (l, p, "mlp.fc1", mlp, d);
    want_linear (l, p, "mlp.fc2", d, mlp);
  }
}

static void
want_llama (List *l, const LlavaSizes *s)
{
  gint64 d = s->hidden, kv = s->kv_heads * (d / s->heads);

  want_matrix (l, "language_model.model.", "embed_tokens.weight", s->vocab, d);
  for (gint64 i = 0; i < s->layers; i++) {
    g_autofree char *p = g_strdup_printf ("language_model.model.layers.%d.", (int) i);

    want_vector (l, p, "input_layernorm.weight", d);
    want_vector (l, p, "post_attention_layernorm.weight", d);
    want_matrix (l, p, "self_attn.q_proj.weight", d, d);
    want_matrix (l, p, "self_attn.k_proj.weight", kv, d);
    want_matrix (l, p, "self_attn.v_proj.weight", kv, d);
    want_matrix (l, p, "self_attn.o_proj.weight", d, d);
    want_matrix (l, p, "mlp.gate_proj.weight", s->mlp, d);
    want_matrix (l, p, "mlp.up_proj.weight", s->mlp, d);
    want_matrix (l, p, "mlp.down_proj.weight", d, s->mlp);
  }
  want_vector (l, "language_model.model.", "norm.weight", d);
  want_matrix (l, "language_model.", "lm_head.weight", s->vocab, d);
}

static void
want_vision (List *l, const LlavaSizes *s)
{
  static const char prefix[] = "vision_tower.vision_model.";
  gint64 d = s->vision_hidden, side = s->image / s->patch;

  want_vector (l, prefix, "embeddings.class_embedding", d);
  want (l, prefix, "embeddings.patch_embedding.weight", 4, (gint64[]){ d, 3, s->patch, s->patch });
  want_matrix (l, prefix, "embeddings.position_embedding.weight", side * side + 1, d);
  want_norm (l, prefix, "pre_layrnorm", d); /* upstream's spelling */
  want_clip_layers (l, prefix, s->vision_layers, d, s->vision_mlp);
  want_norm (l, prefix, "post_layernorm", d);
}

GArray *
random_llava_list (const LlavaSizes *s, GStringChunk *names)
{
  List l = { g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor)), names };

  want_vision (&l, s);
  want_linear (&l, "multi_modal_projector.", "linear_1", s->hidden, s->vision_hidden);
  want_linear (&l, "multi_modal_projector.", "linear_2", s->hidden, s->hidden);
  want_llama (&l, s);
  return l.tensors;
}

GArray *
random_clip_list (const ClipSizes *s, GStringChunk *names)
{
  static const char prefix[] = "text_model.";
  List l = { g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor)), names };

  want_matrix (&l, prefix, "embeddings.token_embedding.weight", s->vocab, s->hidden);
  want_matrix (&l, prefix, "embeddings.position_embedding.weight", s->positions, s->hidden);
  want_clip_layers (&l, prefix, s->layers, s->hidden, s->mlp);
  want_norm (&l, prefix, "final_layer_norm", s->hidden);
  return l.tensors;
}

LlavaSizes
random_llava_sizes (const AvatarConfig *config, RandomSizes sizes)
{
  gint64 d = config->transformer.text_dim;

  if (sizes == RANDOM_SIZES_RELEASED)
    return (LlavaSizes){ 4096, 32, 32, 8, 14336, 128320, 280147, 1024, 24, 16, 4096, 336, 14 };
  return (LlavaSizes){ d, 4, 4, 2, 2 * d, 1024, 0, d, 3, 4, 2 * d, 56, 14 };
}

ClipSizes
random_clip_sizes (const AvatarConfig *config, RandomSizes sizes)
{
  gint64 d = config->transformer.pooled_dim;

  if (sizes == RANDOM_SIZES_RELEASED)
    return (ClipSizes){ 768, 12, 12, 3072, 49408, 48894, 77 };
  return (ClipSizes){ d, 2, 4, 2 * d, 1024, 0, 77 };
}

char *
random_llava_config (const LlavaSizes *s)
{
  return g_strdup_printf (
      "{\n  \"architectures\": [\"LlavaForConditionalGeneration\"],\n  \"model_type\": \"llava\",\n"
      "  \"image_token_index\": %d,\n  \"pad_token_id\": %d,\n  \"projector_hidden_act\": \"gelu\",\n"
      "  \"vision_feature_layer\": -2,\n  \"vision_feature_select_strategy\": \"default\",\n"
      "  \"text_config\": {\"model_type\": \"llama\", \"hidden_size\": %d, \"num_hidden_layers\": %d,"
      " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"intermediate_size\": %d,"
      " \"vocab_size\": %d, \"rms_norm_eps\": 1e-05, \"rope_theta\": 500000.0,"
      " \"max_position_embeddings\": 8192},\n"
      "  \"vision_config\": {\"model_type\": \"clip_vision_model\", \"hidden_size\": %d,"
      " \"num_hidden_layers\": %d, \"num_attention_heads\": %d, \"intermediate_size\": %d,"
      " \"image_size\": %d, \"patch_size\": %d}\n}\n",
      (int) s->vocab - 63, (int) s->vocab - 62, (int) s->hidden, (int) s->layers, (int) s->heads,
      (int) s->kv_heads, (int) s->mlp, (int) s->vocab, (int) s->vision_hidden,
      (int) s->vision_layers, (int) s->vision_heads, (int) s->vision_mlp, (int) s->image,
      (int) s->patch);
}

char *
random_clip_config (const ClipSizes *s)
{
  return g_strdup_printf (
      "{\n  \"architectures\": [\"CLIPTextModel\"],\n  \"model_type\": \"clip_text_model\",\n"
      "  \"hidden_size\": %d,\n  \"num_hidden_layers\": %d,\n  \"num_attention_heads\": %d,\n"
      "  \"intermediate_size\": %d,\n  \"vocab_size\": %d,\n  \"max_position_embeddings\": %d,\n"
      "  \"hidden_act\": \"quick_gelu\",\n  \"layer_norm_eps\": 1e-05,\n  \"eos_token_id\": 2\n}\n",
      (int) s->hidden, (int) s->layers, (int) s->heads, (int) s->mlp, (int) s->vocab,
      (int) s->positions);
}
