/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private interface of a model for the other modules of the engine; see also
 * avatar_model_get_config(). All functions are thread-safe, and results are owned by the model. */
#pragma once

#include "engine/formats/tensor-source.h"
#include "engine/model/component.h"
#include "engine/model/config.h"

#include <avatar/model.h>

G_BEGIN_DECLS

/* Returns: (transfer none) (nullable): table of tensor name, without prefixes such as
 * "model.encoder.", -> AvatarTensorSource; %NULL if the model has no such component.
 * @file: (out) (optional): path of the file, for messages */
GHashTable *
avatar_model_get_component (AvatarModel *model, AvatarComponentKind component, const char **file);

/* @encoder: AVATAR_COMPONENT_LLAVA or AVATAR_COMPONENT_CLIP
 * Returns: (nullable): folder of the tokenizer of @encoder, which may not exist; %NULL if the
 * model has no such folders. */
const char *avatar_model_get_text_folder (AvatarModel *model, AvatarComponentKind encoder);
/* Returns: (nullable): repository from which that folder can be downloaded, for messages. */
const char *avatar_model_get_text_source (AvatarModel *model, AvatarComponentKind encoder);
/* Returns: (nullable): file of the face detector, if there is one. */
const char *avatar_model_get_detector (AvatarModel *model);

/* Returns: (nullable): JSON text of the configuration; %NULL for the built-in released sizes. */
const char *avatar_model_get_config_json (AvatarModel *model);

/* Returns: FALSE if only sizes are known, for plans; tensors have no data then. */
gboolean avatar_model_has_weights (AvatarModel *model);

G_END_DECLS
