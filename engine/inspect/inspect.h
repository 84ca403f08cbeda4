/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inspection of a folder or file: the components that are present, their formats, what is missing
 * and where to download it. Reads headers only and converts nothing. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/model/config.h"

G_BEGIN_DECLS

/* Maximum number of tensor names that are kept for a message. */
#define AVATAR_INSPECT_NAMES 4

/* Names of the components with a tokenizer (engine/inspect/inspect-tokenizer.h). */
#define AVATAR_INSPECT_LLAVA "text encoder (LLaVA)"
#define AVATAR_INSPECT_CLIP "text encoder (CLIP)"

typedef enum
{
  AVATAR_INSPECT_FINE,
  AVATAR_INSPECT_MISSING,
  AVATAR_INSPECT_INCOMPLETE, /* tensors or a required file are missing */
  AVATAR_INSPECT_UNUSABLE,   /* @problem has the reason */
} AvatarInspectState;

typedef struct
{
  guint n;
  guint64 values, bytes;
} AvatarTally;

/**
 * AvatarInspectedComponent:
 * @name: "transformer", "VAE", ...
 * @needed: TRUE if no video can be made without it
 * @path: path of the file, or where it is expected
 * @format: (nullable): file format, e.g. "safetensors" or "GGUF"; %NULL if there is no file
 * @n_files, @file_bytes: number and size of its files, shards and scale factors included
 * @tallies: tensors by dtype; @total: all tensors
 * @parameters: number of values without scale factors
 * @n_extra, @extra: number of unneeded tensors, and the first names, %NULL-terminated
 * @problem: (nullable): message with finding, expectation and remedy
 * @note: (nullable): remark
 */
typedef struct
{
  char *name;
  gboolean needed;
  AvatarInspectState state;
  char *path;
  const char *format;
  guint n_files;
  guint64 file_bytes;
  AvatarTally tallies[AVATAR_N_DTYPES], total;
  guint64 parameters;
  guint n_extra;
  char *extra[AVATAR_INSPECT_NAMES + 1];
  char *problem, *note;
} AvatarInspectedComponent;

typedef enum
{
  AVATAR_INSPECTED_DOWNLOAD, /* folder as downloaded (engine/model/layout.h) */
  AVATAR_INSPECTED_PLAIN,    /* config.json and a file for each component */
  AVATAR_INSPECTED_FILES,    /* one file, or several that are not a model */
} AvatarInspectedKind;

/**
 * AvatarInspection:
 * @id: kind, for programs; @description: kind, for messages
 * @components: array of AvatarInspectedComponent
 * @released_sizes: TRUE if the folder has no configuration and the released sizes apply
 * @config: (nullable): configuration of the model; %NULL if there is none that can be read
 * @n_passed_over: number of files that were skipped because the folder has too many
 */
typedef struct
{
  AvatarInspectedKind kind;
  const char *id, *description;
  GPtrArray *components;
  gboolean released_sizes;
  AvatarConfig *config;
  guint n_passed_over;
} AvatarInspection;

/* Called with the name of a component before it is read. */
typedef void (*AvatarInspectFunc) (const char *component, gpointer data);

/* Inspects the file or folder at @path.
 * @func: (nullable): progress callback
 * Returns: (transfer full): the inspection, also if components are unusable; %NULL with @error if
 * @path does not exist or nothing in it is recognised. */
AvatarInspection *
avatar_inspect (const char *path, AvatarInspectFunc func, gpointer data, GError **error);
void avatar_inspection_free (AvatarInspection *self);
/* Returns: TRUE if all needed components are usable; for @AVATAR_INSPECTED_FILES, if all files
 * are. */
gboolean avatar_inspection_is_usable (const AvatarInspection *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarInspection, avatar_inspection_free)

G_END_DECLS
