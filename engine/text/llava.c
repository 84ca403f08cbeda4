/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The portrait goes through the vision tower once; then all prompts go through each layer of the
 * language model, one after the other, so that each weight is read once and what a prompt becomes
 * does not depend on the others. What comes out is the residual stream two layers before the end,
 * without a norm: hidden_states[-3]. */
#include "engine/text/llava.h"

#include "engine/text/llama.h"
#include "engine/text/embedding-rows.h"
#include "engine/model/component.h"

#include <stdio.h>
#include <string.h>

#define MOST_PROMPTS 2
/* Layers that are not run, since upstream takes what goes into them. */
#define SKIPPED 2
#define EMBEDDING AVATAR_COMPONENT_VOCABULARY

/* Units: embeddings of the picture, the tower's layers, the projector, the steps of LLaMA's layers. */

static guint
vision_layers (const AvatarLlavaConfig *c)
{
  return c->vision.layers - 1;
}

static guint
llama_layers (const AvatarLlavaConfig *c)
{
  return c->layers - SKIPPED;
}

static guint
group_of (const char *name, gconstpointer data)
{
  const AvatarLlavaConfig *c = data;
  guint i, projector = 1 + vision_layers (c);
  int end = 0;

  if (sscanf (name, "vision_tower.vision_model.encoder.layers.%3u.", &i) == 1
      && i < vision_layers (c))
    return 1 + i;
  if (sscanf (name, "language_model.model.layers.%3u.%n", &i, &end) == 1 && end > 0
      && i < llama_layers (c))
    return projector + 1 + AVATAR_LLAMA_STEPS * i + avatar_llama_step_of (name + end);
  if (g_str_has_prefix (name, "multi_modal_projector."))
    return projector;
  if (strcmp (name, EMBEDDING) == 0)
    return AVATAR_WEIGHT_GROUP_HOST_ONLY;
  return 0;
}

AvatarWeightGrouping
avatar_llava_weight_groups (const AvatarLlavaConfig *config)
{
  return (AvatarWeightGrouping){
    .n = 1 + vision_layers (config) + 1 + AVATAR_LLAMA_STEPS * llama_layers (config),
    .group_of = group_of,
    .data = config,
  };
}

AvatarWeightSchedule *
avatar_llava_weight_schedule (const AvatarLlavaConfig *config)
{
  guint n = avatar_llava_weight_groups (config).n;
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
  const AvatarVision vision = { ops, c, self->weights };
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor x
      = avatar_ops_alloc_as (ops, AVATAR_F32, 2, features.shape[0] + 1, (gint64) c->vision.hidden);
  guint unit = 0;

  enter (self, ops, unit);
  avatar_vision_embed (&vision, x, square);
  leave (self, ops, unit++);
  for (guint i = 0; i < vision_layers (c); i++) {
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
        prompts[i]->valid, self->exact);
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
  const AvatarLlama llama = { ops, c, self->weights };
  AvatarSequence sequences[MOST_PROMPTS];
  guint first = 1 + vision_layers (c) + 1;
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
