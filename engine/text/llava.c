/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs the portrait through the vision tower, then the prompts, one after the other, through each
 * layer of the language model, so that each weight is loaded once and the result of a prompt does
 * not depend on the other prompts. The output is the residual stream two layers before the end,
 * without a norm (hidden_states[-3]). */
#include "engine/text/llava.h"

#include "engine/text/embedding-rows.h"
#include "engine/model/component.h"

#include <string.h>

#define MAX_PROMPTS 2
/* Number of last layers that are not run: upstream uses the input of the first of them. */
#define SKIPPED_LAYERS 2
#define EMBEDDING AVATAR_COMPONENT_VOCABULARY

static guint
llama_layers (const AvatarLlavaConfig *c)
{
  return c->layers - SKIPPED_LAYERS;
}

/* Returns the number of weight groups: those of the vision tower, then the steps of LLaMA's
 * layers. */
static guint
n_groups (const AvatarLlavaConfig *c)
{
  return avatar_vision_n_groups (c) + AVATAR_LLAMA_STEPS * llama_layers (c);
}

AvatarLlavaWeights *
avatar_llava_weights_new (const AvatarLlavaConfig *c)
{
  AvatarLlavaWeights *self = g_new0 (AvatarLlavaWeights, 1);

  self->list = avatar_weight_list_new (n_groups (c));
  self->layers = g_new0 (AvatarLlamaLayer, llama_layers (c));
  avatar_vision_weights_init (&self->vision, self->list, c);
  for (guint i = 0; i < llama_layers (c); i++)
    avatar_llama_add_layer (self->list, &self->layers[i],
        avatar_vision_n_groups (c) + AVATAR_LLAMA_STEPS * i, i);
  return self;
}

void
avatar_llava_weights_free (AvatarLlavaWeights *self)
{
  if (!self)
    return;
  avatar_vision_weights_clear (&self->vision);
  avatar_weight_list_free (self->list);
  g_free (self->layers);
  g_free (self);
}

AvatarWeightSchedule *
avatar_llava_weight_schedule (const AvatarLlavaConfig *config)
{
  guint n = n_groups (config);
  AvatarWeightSchedule *schedule = g_malloc (sizeof *schedule + n * sizeof (guint));
  guint *groups = (guint *) (schedule + 1);

  for (guint i = 0; i < n; i++)
    groups[i] = i;
  *schedule = (AvatarWeightSchedule){ .groups = groups, .n = n, .max_in_use = 1, .one_shot = TRUE };
  return schedule;
}

static void
acquire_group (const AvatarLlava *self, AvatarOps *ops, guint group)
{
  avatar_weights_acquire (self->weights, ops, group);
}

static void
release_group (const AvatarLlava *self, AvatarOps *ops, guint group)
{
  avatar_weights_release (self->weights, ops, group);
  avatar_ops_throttle (ops);
  if (self->group_done && avatar_ops_running (ops))
    self->group_done (self->group_data);
}

/* Runs the vision tower on @square. @features: [patches, hidden] */
static void
encode_image (const AvatarLlava *self, AvatarOps *ops, AvatarTensor features,
    const AvatarImage *square)
{
  const AvatarLlavaConfig *c = &self->config->llava;
  const AvatarVision vision = { ops, c, &self->params->vision };
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor x
      = avatar_ops_alloc_as (ops, AVATAR_F32, 2, features.shape[0] + 1, (gint64) c->vision.hidden);
  guint group = 0;

  acquire_group (self, ops, group);
  avatar_vision_embed (&vision, x, square);
  release_group (self, ops, group++);
  for (guint i = 0; i < avatar_vision_n_layers (c); i++) {
    acquire_group (self, ops, group);
    avatar_vision_layer (&vision, i, x);
    release_group (self, ops, group++);
  }
  acquire_group (self, ops, group);
  avatar_vision_project (&vision, features, x);
  release_group (self, ops, group);
  avatar_ops_release (ops, mark);
}

/* Sets @x to the embeddings of the prompt, with @features in place of its last id, and zeros for
 * padding. */
static gboolean
embed_prompt (const AvatarLlava *self, AvatarOps *ops, const AvatarEncoding *prompt, AvatarTensor x,
    AvatarTensor features, GError **error)
{
  gint64 text = prompt->llava.n - 1, n_image = features.shape[0], d = x.shape[1];
  g_autofree float *host = NULL;

  if (avatar_ops_running (ops)) {
    host = g_new0 (float, MAX (text, 1) * d);
    for (gint64 i = 0; i < text; i++)
      if (!avatar_embedding_add_row (host + i * d, self->tensors, EMBEDDING, prompt->llava.ids[i],
              error))
        return FALSE;
  }
  avatar_op_upload (ops, avatar_tensor_rows (x, 0, text), host);
  avatar_op_copy (ops, avatar_tensor_rows (x, text, n_image), features);
  if (host)
    memset (host, 0, d * sizeof (float));
  if (prompt->padded)
    avatar_op_upload (ops, avatar_tensor_rows (x, prompt->valid, 1), host);
  return TRUE;
}

/* Allocates @sequences for the @n prompts and computes their embeddings. */
static gboolean
embed_prompts (const AvatarLlava *self, const AvatarLlama *llama, AvatarSequence *sequences,
    const AvatarImage *square, AvatarEncoding *const *prompts, guint n, GError **error)
{
  AvatarOps *ops = llama->ops;
  AvatarTensor features = avatar_ops_alloc_as (ops, AVATAR_F32, 2,
      (gint64) self->config->text.image_tokens, (gint64) self->config->llava.hidden);

  encode_image (self, ops, features, square);
  for (guint i = 0; i < n; i++) {
    avatar_llama_begin (llama, &sequences[i], prompts[i]->valid + (prompts[i]->padded ? 1 : 0),
        prompts[i]->valid, self->rope);
    if (!embed_prompt (self, ops, prompts[i], sequences[i].x, features, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
avatar_llava_run (const AvatarLlava *self, AvatarOps *ops, const AvatarImage *square,
    AvatarEncoding *const *prompts, guint n, GError **error)
{
  const AvatarLlavaConfig *c = &self->config->llava;
  const AvatarLlama llama = { ops, c, self->params->layers };
  AvatarSequence sequences[MAX_PROMPTS];
  guint first = avatar_vision_n_groups (c);
  gsize mark = avatar_ops_mark (ops);
  gboolean ok;

  g_assert (n >= 1 && n <= MAX_PROMPTS);
  ok = embed_prompts (self, &llama, sequences, square, prompts, n, error);
  for (guint i = 0; i < AVATAR_LLAMA_STEPS * llama_layers (c) && ok; i++) {
    acquire_group (self, ops, first + i);
    for (guint j = 0; j < n; j++)
      avatar_llama_step (&llama, i / AVATAR_LLAMA_STEPS, i % AVATAR_LLAMA_STEPS, &sequences[j]);
    release_group (self, ops, first + i);
  }
  for (guint j = 0; j < n && ok; j++)
    avatar_op_download (ops, prompts[j]->states,
        avatar_tensor_rows (sequences[j].x, prompts[j]->llava.crop,
            avatar_encoding_count_distinct (prompts[j])));
  avatar_ops_release (ops, mark);
  return ok;
}
