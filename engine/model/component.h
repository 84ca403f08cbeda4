/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One component of a model, which is one network with its file. Maps the names in the file to those
 * of the manifest and checks every tensor against it when the file is opened. */
#pragma once

#include "engine/model/config.h"
#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

/* Components in the order in which a model stores them. */
typedef enum
{
  AVATAR_COMPONENT_TRANSFORMER,
  AVATAR_COMPONENT_VAE,
  AVATAR_COMPONENT_WHISPER,
  AVATAR_COMPONENT_TEXT, /* replaces the two encoders below */
  AVATAR_COMPONENT_LLAVA,
  AVATAR_COMPONENT_CLIP,
  AVATAR_N_COMPONENTS,
} AvatarComponentKind;

/* Name prefix of padding tensors, which page-align the tensors after them. */
#define AVATAR_COMPONENT_PADDING "_padding."

/* LLaVA's embedding table. */
#define AVATAR_COMPONENT_VOCABULARY "language_model.model.embed_tokens.weight"

/* Number of components that a plain folder may have; they are the first of the enumeration. */
#define AVATAR_N_PLAIN_COMPONENTS (AVATAR_COMPONENT_TEXT + 1)

/**
 * AvatarComponent: all members are %NULL if the component is missing
 * @file: (nullable): file of the tensors; %NULL if only shapes are known
 * @scales: (nullable): separate file of scale factors
 * @vision: (nullable): separate file of LLaVA's vision tower and projector
 * @tensors: table of name -> AvatarTensorSource. An 8-bit tensor NAME has a second entry
 *   NAME_scale, with one factor or one factor for each row
 * @siblings: (nullable): table of name prefix -> unused tensor, created at the first lookup
 */
typedef struct
{
  AvatarTensorFile *file, *scales, *vision;
  GHashTable *tensors, *siblings;
} AvatarComponent;

/* Treatment of tensors that are not in the manifest. */
typedef enum
{
  AVATAR_UNKNOWN_TENSORS_SKIP,
  AVATAR_UNKNOWN_TENSORS_REFUSE,
} AvatarUnknownTensors;

/* Returns: name of the component for messages, such as "transformer". */
const char *avatar_component_name (AvatarComponentKind kind);
/* Returns: file name of the component in a plain folder, or %NULL if it has none. */
const char *avatar_component_file (AvatarComponentKind kind);
/* Returns: (transfer full) (nullable): manifest name of the tensor that a file stores as @name,
 * with "_scale" appended for scale factors; %NULL if the tensor belongs to another network or is a
 * quantiser's private data. */
char *avatar_component_canonical_name (AvatarComponentKind kind, const char *name);
/* Opens the file at @path and checks its tensors against the manifest of @config. The number of
 * rows of LLaVA's embedding table may differ from @config.
 * @self: zeroed; cleared by the caller, also on failure
 * @second: (nullable): second file: scale factors by module name, or the tensors of LLaVA that the
 * first file lacks
 * @unknown: treatment of tensors that are not in the manifest
 * Returns: FALSE with @error: AVATAR_ERROR_NOT_FOUND for a missing tensor, AVATAR_ERROR_MISMATCH
 * for a wrong shape, AVATAR_ERROR_FORMAT, or an error of opening the file */
gboolean avatar_component_open (AvatarComponent *self, AvatarComponentKind kind, const char *path,
    const char *second, const AvatarConfig *config, AvatarUnknownTensors unknown, GError **error);
/* Fills @tensors with all tensors of the manifest, as sources that have shapes but no values. */
void avatar_component_init_shapes_only (AvatarComponent *self, AvatarComponentKind kind,
    const AvatarConfig *config);
void avatar_component_clear (AvatarComponent *self);

G_END_DECLS
