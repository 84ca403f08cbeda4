/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What avatar-random was asked for, and the files of it. */
#pragma once

#include "engine/model/config.h"
#include "engine/formats/json.h"
#include "engine/formats/tensor-writer.h"

typedef enum
{
  RANDOM_RELEASED, /* PyTorch's files, as in the release */
  RANDOM_PLAIN,    /* one safetensors file a part */
  RANDOM_WAN2GP,
} RandomForm;

/* @empty: holes in place of values; @sized: the sizes are not the released ones, which need no saying;
 * @json: they, as a text */
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

/* The values of a tensor by its name; of 8-bit ones in the full range, which a factor brings back. @data:
 * the job */
void random_fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data);
/* Half of the range that the 8-bit tensor of this name is drawn from. */
float random_width (const RandomJob *job, const AvatarNamedTensor *t);
/* What @manifest has, in @dtype; the names belong to it. */
GArray *random_list (GArray *manifest, AvatarDType dtype);
/* The path of @file in the job's folder, which is made. Free with g_free(). */
char *random_path (const RandomJob *job, const char *file, GError **error);
gboolean
random_write_text (const RandomJob *job, const char *file, const char *text, GError **error);
/* A section of the configuration as a file of its own. */
gboolean
random_write_section (const RandomJob *job, const char *section, const char *file, GError **error);
/* @key: (nullable): of the dictionary that a PyTorch file has the tensors in. @torch: it is one, rather
 * than safetensors. */
gboolean random_write_tensors (const RandomJob *job, const char *file, gboolean torch,
    const char *key, GArray *list, AvatarFillFunc func, gpointer data, GError **error);
/* One line about a file that was written since @start. */
void random_tell (const char *path, GArray *list, gint64 start);

/* As Wan2GP's own writer (mmgp) makes them. @int8: quanto's qint8 of what mmgp quantises */
gboolean random_write_wan2gp (const RandomJob *job, gboolean int8, GError **error);
