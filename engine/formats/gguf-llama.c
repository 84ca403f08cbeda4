/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/formats/gguf-llama.h"

#include <stdio.h>
#include <string.h>

#define LLAMA "language_model.model."
#define TOWER "vision_tower.vision_model."
#define PROJECTOR "multi_modal_projector."

/* Translation of "source.weight" and "source.bias". */
typedef struct
{
  const char *source, *target;
  AvatarGgufOrder order;
} Name;

static const Name llama[] = {
  { "token_embd", LLAMA "embed_tokens", AVATAR_GGUF_IN_ORDER },
  { "output_norm", LLAMA "norm", AVATAR_GGUF_IN_ORDER },
  { "output", "language_model.lm_head", AVATAR_GGUF_IN_ORDER },
};

static const Name llama_layer[] = {
  { "attn_norm", "input_layernorm", AVATAR_GGUF_IN_ORDER },
  { "attn_q", "self_attn.q_proj", AVATAR_GGUF_BY_HEAD },
  { "attn_k", "self_attn.k_proj", AVATAR_GGUF_BY_KV_HEAD },
  { "attn_v", "self_attn.v_proj", AVATAR_GGUF_IN_ORDER },
  { "attn_output", "self_attn.o_proj", AVATAR_GGUF_IN_ORDER },
  { "ffn_norm", "post_attention_layernorm", AVATAR_GGUF_IN_ORDER },
  { "ffn_gate", "mlp.gate_proj", AVATAR_GGUF_IN_ORDER },
  { "ffn_up", "mlp.up_proj", AVATAR_GGUF_IN_ORDER },
  { "ffn_down", "mlp.down_proj", AVATAR_GGUF_IN_ORDER },
};

/* The projector's second layer is mm.2 if the converter counts the activation between the layers;
 * newer converters write the names linear_1 and linear_2. */
static const Name vision[] = {
  { "v.patch_embd", TOWER "embeddings.patch_embedding", AVATAR_GGUF_IN_ORDER },
  { "v.position_embd", TOWER "embeddings.position_embedding", AVATAR_GGUF_IN_ORDER },
  { "v.pre_ln", TOWER "pre_layrnorm", AVATAR_GGUF_IN_ORDER },
  { "v.post_ln", TOWER "post_layernorm", AVATAR_GGUF_IN_ORDER },
  { "mm.0", PROJECTOR "linear_1", AVATAR_GGUF_IN_ORDER },
  { "mm.1", PROJECTOR "linear_1", AVATAR_GGUF_IN_ORDER },
  { "mm.2", PROJECTOR "linear_2", AVATAR_GGUF_IN_ORDER },
};

static const Name vision_layer[] = {
  { "ln1", "layer_norm1", AVATAR_GGUF_IN_ORDER },
  { "attn_q", "self_attn.q_proj", AVATAR_GGUF_IN_ORDER },
  { "attn_k", "self_attn.k_proj", AVATAR_GGUF_IN_ORDER },
  { "attn_v", "self_attn.v_proj", AVATAR_GGUF_IN_ORDER },
  { "attn_out", "self_attn.out_proj", AVATAR_GGUF_IN_ORDER },
  { "ln2", "layer_norm2", AVATAR_GGUF_IN_ORDER },
  { "ffn_up", "mlp.fc1", AVATAR_GGUF_IN_ORDER },
  { "ffn_down", "mlp.fc2", AVATAR_GGUF_IN_ORDER },
};

AvatarGgufKind
avatar_gguf_kind (const char *architecture)
{
  if (g_strcmp0 (architecture, "llama") == 0)
    return AVATAR_GGUF_LLAMA;
  return g_strcmp0 (architecture, "clip") == 0 ? AVATAR_GGUF_VISION : AVATAR_GGUF_OTHER;
}

/* Returns the translation of @name, which ends at @end, or NULL. */
static const Name *
look_up (const Name *names, guint n, const char *name, const char *end)
{
  gsize length = end - name;

  for (guint i = 0; i < n; i++)
    if (strlen (names[i].source) == length && strncmp (names[i].source, name, length) == 0)
      return &names[i];
  return NULL;
}

/* Returns the translation of the other matrix, if @name is one of the two matrices of an MLP. */
static const Name *
swap (const Name *name)
{
  if (strcmp (name->source, "ffn_up") == 0)
    return name + 1;
  return strcmp (name->source, "ffn_down") == 0 ? name - 1 : name;
}

char *
avatar_gguf_name (AvatarGgufKind kind, const char *name, AvatarGgufOrder *order)
{
  gboolean is_vision = kind == AVATAR_GGUF_VISION || kind == AVATAR_GGUF_OLD_VISION;
  const char *end = strrchr (name, '.');
  const Name *found;
  int start = 0;
  guint layer;

  *order = AVATAR_GGUF_IN_ORDER;
  if (is_vision
      && (strcmp (name, "v.class_embd") == 0 || strcmp (name, "v.class_embd.weight") == 0))
    return g_strdup (TOWER "embeddings.class_embedding");
  if (kind == AVATAR_GGUF_OTHER || !end
      || (strcmp (end, ".weight") != 0 && strcmp (end, ".bias") != 0))
    return NULL;
  if (sscanf (g_str_has_prefix (name, "v.") == is_vision ? name + (is_vision ? 2 : 0) : "",
          "blk.%3u.%n", &layer, &start)
          != 1
      || start == 0) {
    found = is_vision ? look_up (vision, G_N_ELEMENTS (vision), name, end)
                      : look_up (llama, G_N_ELEMENTS (llama), name, end);
    return found ? g_strconcat (found->target, end, NULL) : NULL;
  }
  name += start + (is_vision ? 2 : 0);
  if (end < name)
    return NULL;
  found = is_vision ? look_up (vision_layer, G_N_ELEMENTS (vision_layer), name, end)
                    : look_up (llama_layer, G_N_ELEMENTS (llama_layer), name, end);
  if (!found)
    return NULL;
  if (kind == AVATAR_GGUF_OLD_VISION)
    found = swap (found);
  *order = found->order;
  return g_strdup_printf ("%slayers.%u.%s%s", is_vision ? TOWER "encoder." : LLAMA, layer,
      found->target, end);
}
