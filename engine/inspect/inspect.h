/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a folder or a file is: which parts of a model are there, in what form, and what is missing
 * and where it comes from. Nothing is converted, and nothing is read but tables. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/model/config.h"

G_BEGIN_DECLS

/* Names of tensors that are kept for a message. */
#define AVATAR_INSPECT_NAMES 4

/* Names of the parts whose tokenizers engine/inspect/inspect-tokenizer.h looks at. */
#define AVATAR_INSPECT_LLAVA "text encoder (LLaVA)"
#define AVATAR_INSPECT_CLIP "text encoder (CLIP)"

typedef enum
{
  AVATAR_INSPECT_FINE,
  AVATAR_INSPECT_MISSING,
  AVATAR_INSPECT_INCOMPLETE, /* tensors, or a file that belongs to it, are not there */
  AVATAR_INSPECT_UNUSABLE,   /* @problem says why */
} AvatarInspectState;

typedef struct
{
  guint n;
  guint64 values, bytes;
} AvatarTally;

/**
 * AvatarInspectedComponent:
 * @name: "transformer", "VAE", ...
 * @needed: nothing runs without it
 * @path: where it is, or where it should be
 * @format: of the file, e.g. "safetensors", "GGUF"; %NULL if there is none
 * @n_files, @file_bytes: with its shards, or its file of scales
 * @tallies: of the tensors, by dtype; @total: of all
 * @parameters: values that are no factors of 8-bit ones
 * @n_extra, @extra: tensors that nothing needs, and the first of them, up to %NULL
 * @problem: (nullable): what was found, expected, and is to be done; @note: (nullable): a remark
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
  AVATAR_INSPECTED_DOWNLOAD, /* as it comes from where it is published (engine/model/layout.h) */
  AVATAR_INSPECTED_PLAIN,    /* config.json and a file a part */
  AVATAR_INSPECTED_FILES,    /* a file, or a folder of files, that are no model by themselves */
} AvatarInspectedKind;

/**
 * AvatarInspection:
 * @word: the kind for programs; @what: in words
 * @components: of AvatarInspectedComponent
 * @released_sizes: a tree that has no sizes of its own
 * @config: what a model's folder says of sizes; %NULL: nothing that can be read, or it is no model's
 * @n_passed_over: files of the folder that were not looked at, because there are so many
 */
typedef struct
{
  AvatarInspectedKind kind;
  const char *word, *what;
  GPtrArray *components;
  gboolean released_sizes;
  AvatarConfig *config;
  guint n_passed_over;
} AvatarInspection;

/* Told of each part before it is looked at. */
typedef void (*AvatarInspectFunc) (const char *component, gpointer data);

/* @func: (nullable). %NULL with @error: @path is not there, or nothing in it can be told of; a part that
 * cannot be read is no error, unless it is all there is. */
AvatarInspection *
avatar_inspect (const char *path, AvatarInspectFunc func, gpointer data, GError **error);
void avatar_inspection_free (AvatarInspection *self);
/* All that is needed is there; of files, all of them are. */
gboolean avatar_inspection_is_usable (const AvatarInspection *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarInspection, avatar_inspection_free)

G_END_DECLS
