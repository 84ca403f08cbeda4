/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the engine's own rooms may ask a model for; see also avatar_model_get_config(). */
#pragma once

#include "engine/base/tensor.h"
#include "engine/model/config.h"

#include <avatar/model.h>

G_BEGIN_DECLS

/* Name (without prefixes such as "model.encoder.") -> AvatarTensor in the mapped file; %NULL if
 * there is no such part. @file: (out) (optional): its path, for messages. */
GHashTable *avatar_model_get_component (AvatarModel *model, const char *part, const char **file);

/* Where the tokenizer of LLaVA, or of CLIP, is, whether it is there or not; %NULL: no released tree. */
const char *avatar_model_get_text_folder (AvatarModel *model, gboolean clip);
/* Where such a folder comes from, for messages; %NULL as the folder. */
const char *avatar_model_get_text_source (AvatarModel *self, gboolean clip);
/* The file of the face detector, which no stage needs; %NULL: there is none. */
const char *avatar_model_get_detector (AvatarModel *model);

/* The text of the configuration; %NULL: the released sizes alone. */
const char *avatar_model_get_config_json (AvatarModel *model);

/* FALSE: only sizes are known, for plans; tensors have no data. */
gboolean avatar_model_has_weights (AvatarModel *model);

G_END_DECLS
