/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State of one run of avatar-random, and the files that it writes. */
#pragma once

#include "engine/model/config.h"
#include "engine/formats/json.h"
#include "engine/formats/tensor-writer.h"

typedef enum
{
  RANDOM_RELEASED, /* PyTorch files, as in the release */
  RANDOM_PLAIN,    /* one safetensors file for each component */
  RANDOM_WAN2GP,
} RandomForm;

typedef enum
{
  RANDOM_SAFETENSORS,
  RANDOM_TORCH,
} RandomFormat;

/**
 * RandomJob: state of one run
 * @empty: TRUE to write sparse files without values
 * @sized: TRUE if the sizes differ from the released ones and need a configuration
 * @json: text of the configuration
 */
typedef struct
{
  const char *folder;
  RandomForm form;
  guint64 seed;
  gboolean empty, sized;
  AvatarConfig *config;
  char *json;
  JsonObject *sections;
} RandomJob;

/* Fills @out with the values of a tensor. Values of 8-bit tensors span the full range, and a scale
 * factor reduces them.
 * @data: the RandomJob */
void random_fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data);
/* Returns: half of the range of the values of an 8-bit tensor, before scaling. */
float random_width (const RandomJob *job, const AvatarNamedTensor *t);
/* Returns: (transfer full): the tensors of @manifest with @dtype; @manifest owns the names. */
GArray *random_list (GArray *manifest, AvatarDType dtype);
/* Returns: (transfer full) (nullable): path of @file in the job's folder, after creating its parent
 * folders. */
char *random_path (const RandomJob *job, const char *file, GError **error);
gboolean
random_write_text (const RandomJob *job, const char *file, const char *text, GError **error);
/* Writes a section of the configuration to a file of its own. */
gboolean
random_write_section (const RandomJob *job, const char *section, const char *file, GError **error);
/* Writes @list to a file.
 * @key: (nullable): member of a PyTorch file's dictionary that holds the tensors */
gboolean random_write_tensors (const RandomJob *job, const char *file, RandomFormat format,
    const char *key, GArray *list, AvatarFillFunc func, gpointer data, GError **error);
/* Prints one line about a file that was written since @start. */
void random_report (const char *path, GArray *list, gint64 start);

/* Writes a file as Wan2GP's library mmgp does.
 * @dtype: AVATAR_I8 to quantise to quanto's qint8 where mmgp does, else AVATAR_BF16 */
gboolean random_write_wan2gp (const RandomJob *job, AvatarDType dtype, GError **error);
