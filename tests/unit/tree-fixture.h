/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test helper: folders of weights made by avatar-random at the demo's sizes, and short runs with
 * them. */
#pragma once

#include "engine/model/component.h"

#include <avatar/avatar.h>

/* A program that must end well. */
void folder_run (const char *const *argv);
/* @format: torch or safetensors */
void folder_make (const char *folder, const char *format, const char *parts);
/* --layout wan2gp */
void folder_make_wan2gp (const char *folder, const char *parts);
void folder_remove (const char *path);
AvatarModel *folder_open (const char *path);
/* All tensors of @part are the same numbers from both models. */
void folder_compare (AvatarModel *a, AvatarModel *b, AvatarComponentKind part);

#define FOLDER_TEXT 7
#define FOLDER_SIZE 64
#define FOLDER_CHUNK 2
/* Latents that a run gives. */
#define FOLDER_VALUES ((gsize) FOLDER_CHUNK * 16 * (FOLDER_SIZE / 8) * (FOLDER_SIZE / 8))

#define FOLDER_FRAMES (4 * FOLDER_CHUNK - 3)
#define FOLDER_BYTES ((gsize) FOLDER_FRAMES * FOLDER_SIZE * FOLDER_SIZE * 3)

/* @used: number of rows of the text, at most FOLDER_TEXT; @budget: MiB, or 0; @features:
 * (nullable): features of FOLDER_FRAMES, instead of random ones */
typedef struct
{
  const char *device;
  guint used;
  guint64 budget;
  const AvatarLoraSetting *lora;
  const float *features, *noise;
  const char *noise_file, *posterior_noise;
  gboolean upstream_rounding;
  AvatarWeightFormat weight_format;
} FolderRun;

/* All latents of one short window, with random text states. */
float *folder_denoise (AvatarModel *model, const FolderRun *run, GError **error);
/* The whole chain on the CPU: from a tone to FOLDER_BYTES of frames. */
guint8 *folder_chain (AvatarModel *model);
/* The relative difference in the mean square. */
double folder_difference (const float *a, const float *b, gsize n);
/* Writes a LoRA of rank 3 for matrices of every kind: parts of fused ones, matrices before an
 * activation, and those of the modulation. */
void folder_write_lora (const char *path, const AvatarTransformerConfig *config);
