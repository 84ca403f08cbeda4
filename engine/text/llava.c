/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The portrait goes through the vision tower once; then all prompts go through each layer of the
 * language model, one after the other, so that each weight is read once and what a prompt becomes
 * does not depend on the others. What comes out is the residual stream two layers before the end,
 * without a norm: hidden_states[-3]. */
#include "engine/text/llava.h"

#include "engine/text/embedding-rows.h"
#include "engine/model/component.h"

#include <string.h>

#define MOST_PROMPTS 2
/* Layers that are not run, since upstream takes what goes into them. */
#define SKIPPED 2
#define EMBEDDING AVATAR_COMPONENT_VOCABULARY

static guint
llama_layers (const AvatarLlavaConfig *c)
{
  return c->layers - SKIPPED;
}

/* Weight groups: those of the vision tower, then the steps of LLaMA's layers. */
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
  AvatarWeightSchedule *route = g_malloc (sizeof *route + n * sizeof (guint));
  guint *units = (guint *) (route + 1);

  for (guint i = 0; i < n; i++)
    units[i] = i;
  *route = (AvatarWeightSchedule){ .units = units, .n = n, .at_once = 1, .once = TRUE };
  return route;
}

static void
enter (const AvatarLlava *self, AvatarOps *ops, guint unit)
{
  avatar_weights_acquire (self->weights, ops, unit);
}

static void
leave (const AvatarLlava *self, AvatarOps *ops, guint unit)
{
  avatar_weights_release (self->weights, ops, unit);
  avatar_ops_throttle (ops);
  if (self->done && avatar_ops_running (ops))
    self->done (self->done_data);
}

/* features [patches, hidden] */
static void
see (const AvatarLlava *self, AvatarOps *ops, AvatarTensor features, const AvatarImage *square)
{
  const AvatarLlavaConfig *c = &self->config->llava;
  const AvatarVision vision = { ops, c, &self->params->vision };
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor x
      = avatar_ops_alloc_as (ops, AVATAR_F32, 2, features.shape[0] + 1, (gint64) c->vision.hidden);
  guint unit = 0;

  enter (self, ops, unit);
  avatar_vision_embed (&vision, x, square);
  leave (self, ops, unit++);
  for (guint i = 0; i < avatar_vision_n_layers (c); i++) {
    enter (self, ops, unit);
    avatar_vision_layer (&vision, i, x);
    leave (self, ops, unit++);
  }
  enter (self, ops, unit);
  avatar_vision_project (&vision, features, x);
  leave (self, ops, unit);
  avatar_ops_release (ops, mark);
}

/* x = the prompt's embeddings, with the features in place of its last id, and zeros for padding. */
static gboolean
merge (const AvatarLlava *self, AvatarOps *ops, const AvatarEncoding *prompt, AvatarTensor x,
    AvatarTensor features, GError **error)
{
  gint64 text = prompt->llava.n - 1, seen = features.shape[0], d = x.shape[1];
  g_autofree float *host = NULL;

  if (avatar_ops_running (ops)) {
    host = g_new0 (float, MAX (text, 1) * d);
    for (gint64 i = 0; i < text; i++)
      if (!avatar_add_row (host + i * d, self->tensors, EMBEDDING, prompt->llava.ids[i], error))
        return FALSE;
  }
  avatar_op_upload (ops, avatar_tensor_rows (x, 0, text), host);
  avatar_op_copy (ops, avatar_tensor_rows (x, text, seen), features);
  if (host)
    memset (host, 0, d * sizeof (float));
  if (prompt->padded)
    avatar_op_upload (ops, avatar_tensor_rows (x, prompt->valid, 1), host);
  return TRUE;
}

static gboolean
begin (const AvatarLlava *self, const AvatarLlama *llama, AvatarSequence *sequences,
    const AvatarImage *square, AvatarEncoding *const *prompts, guint n, GError **error)
{
  AvatarOps *ops = llama->ops;
  AvatarTensor features = avatar_ops_alloc_as (ops, AVATAR_F32, 2,
      (gint64) self->config->text.image_tokens, (gint64) self->config->llava.hidden);

  see (self, ops, features, square);
  for (guint i = 0; i < n; i++) {
    avatar_llama_begin (llama, &sequences[i], prompts[i]->valid + (prompts[i]->padded ? 1 : 0),
        prompts[i]->valid, self->rope);
    if (!merge (self, ops, prompts[i], sequences[i].x, features, error))
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
  AvatarSequence sequences[MOST_PROMPTS];
  guint first = avatar_vision_n_groups (c);
  gsize mark = avatar_ops_mark (ops);
  gboolean begun;

  g_assert (n >= 1 && n <= MOST_PROMPTS);
  begun = begin (self, &llama, sequences, square, prompts, n, error);
  for (guint i = 0; i < AVATAR_LLAMA_STEPS * llama_layers (c) && begun; i++) {
    enter (self, ops, first + i);
    for (guint j = 0; j < n; j++)
      avatar_llama_step (&llama, i / AVATAR_LLAMA_STEPS, i % AVATAR_LLAMA_STEPS, &sequences[j]);
    leave (self, ops, first + i);
  }
  for (guint j = 0; j < n && begun; j++)
    avatar_op_download (ops, prompts[j]->states,
        avatar_tensor_rows (sequences[j].x, prompts[j]->llava.crop,
            avatar_encoding_distinct (prompts[j])));
  avatar_ops_release (ops, mark);
  return begun;
}
