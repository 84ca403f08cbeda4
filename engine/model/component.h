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
  AVATAR_PART_TRANSFORMER,
  AVATAR_PART_VAE,
  AVATAR_PART_WHISPER,
  AVATAR_PART_TEXT, /* what stands in for the two below */
  AVATAR_PART_LLAVA,
  AVATAR_PART_CLIP,
  AVATAR_N_PARTS,
} AvatarPartKind;

/* What tensors' names begin with that only fill the file up, so that others begin on pages. */
#define AVATAR_PART_PADDING "_padding."

/* LLaVA's table of what ids stand for. */
#define AVATAR_PART_VOCABULARY "language_model.model.embed_tokens.weight"

/* Those of a plain folder, which come first. */
#define AVATAR_N_PLAIN_PARTS (AVATAR_PART_TEXT + 1)

/* @tensors: name -> AvatarTensor; of an 8-bit one NAME_scale as well, one factor or one a row.
 * @file is %NULL where only sizes are known; all is %NULL where the part is not there. @scales: factors in
 * a file of their own; @vision: a LLaVA's vision tower and projector in one of theirs.
 * @siblings: beginning of a name -> a tensor that nobody reads; %NULL as long as nobody asked */
typedef struct
{
  AvatarWeightFile *file, *scales, *vision;
  GHashTable *tensors, *siblings;
} AvatarPart;

const char *avatar_part_name (AvatarPartKind kind);
/* The part's file in a plain folder; %NULL: it is in the released tree only. */
const char *avatar_part_file (AvatarPartKind kind);
/* What a file calls @name under the manifest's name, or that with "_scale"; %NULL: it belongs to
 * other networks, or to what quantisers keep for themselves. Free with g_free(). */
char *avatar_part_canonical_name (AvatarPartKind kind, const char *name);
/* @second: (nullable): file of the factors, by the names of modules; or, of LLaVA, of what the first file
 * does not have. The table of LLaVA's vocabulary may have some rows more or less than @config says.
 * @strict: tensors that are not of the manifest are an error, rather than passed over. */
gboolean avatar_part_open (AvatarPart *self, AvatarPartKind kind, const char *path,
    const char *second, const AvatarConfig *config, gboolean strict, GError **error);
/* All tensors that the architecture needs, with shapes and without data. */
void avatar_part_imagine (AvatarPart *self, AvatarPartKind kind, const AvatarConfig *config);
void avatar_part_clear (AvatarPart *self);

G_END_DECLS
