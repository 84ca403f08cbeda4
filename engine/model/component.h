/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One part of a model: its tensors under the names of the manifest, whatever its file calls them,
 * and checked against it, so that no stage meets a surprise later. */
#pragma once

#include "engine/model/config.h"
#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

/* The parts there are, in this order. */
typedef enum
{
  AVATAR_COMPONENT_TRANSFORMER,
  AVATAR_COMPONENT_VAE,
  AVATAR_COMPONENT_WHISPER,
  AVATAR_COMPONENT_TEXT, /* what stands in for the two below */
  AVATAR_COMPONENT_LLAVA,
  AVATAR_COMPONENT_CLIP,
  AVATAR_N_COMPONENTS,
} AvatarComponentKind;

/* What tensors' names begin with that only fill the file up, so that others begin on pages. */
#define AVATAR_COMPONENT_PADDING "_padding."

/* LLaVA's table of what ids stand for. */
#define AVATAR_COMPONENT_VOCABULARY "language_model.model.embed_tokens.weight"

/* Those of a plain folder, which come first. */
#define AVATAR_N_PLAIN_COMPONENTS (AVATAR_COMPONENT_TEXT + 1)

/* @tensors: name -> AvatarTensor; of an 8-bit one NAME_scale as well, one factor or one a row.
 * @file is %NULL where only sizes are known; all is %NULL where the part is not there. @scales: factors in
 * a file of their own; @vision: a LLaVA's vision tower and projector in one of theirs.
 * @siblings: beginning of a name -> a tensor that nobody reads; %NULL as long as nobody asked */
typedef struct
{
  AvatarTensorFile *file, *scales, *vision;
  GHashTable *tensors, *siblings;
} AvatarComponent;

const char *avatar_component_name (AvatarComponentKind kind);
/* The part's file in a plain folder; %NULL: it is in the released tree only. */
const char *avatar_component_file (AvatarComponentKind kind);
/* What a file calls @name under the manifest's name, or that with "_scale"; %NULL: it belongs to
 * other networks, or to what quantisers keep for themselves. Free with g_free(). */
char *avatar_component_canonical_name (AvatarComponentKind kind, const char *name);
/* @second: (nullable): file of the factors, by the names of modules; or, of LLaVA, of what the first file
 * does not have. The table of LLaVA's vocabulary may have some rows more or less than @config says.
 * @strict: tensors that are not of the manifest are an error, rather than passed over. */
gboolean avatar_component_open (AvatarComponent *self, AvatarComponentKind kind, const char *path,
    const char *second, const AvatarConfig *config, gboolean strict, GError **error);
/* All tensors that the architecture needs, with shapes and without data. */
void avatar_component_init_shapes_only (AvatarComponent *self, AvatarComponentKind kind,
    const AvatarConfig *config);
void avatar_component_clear (AvatarComponent *self);

G_END_DECLS
