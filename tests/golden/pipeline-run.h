/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One run of the whole chain through the public API, on the folder, portrait, sound and noise of
 * tools/goldens/make_pipeline.py, and what it computed on its way. */
#pragma once

#include <avatar/avatar.h>

G_BEGIN_DECLS

/* Values of one parity point, in the order of upstream's tensor. */
typedef struct
{
  float *values;
  gsize n;
} Point;

/**
 * PipelineSetup: settings that the test varies, to see that each has an effect
 * @frames: video frames of the sound
 * @steps: number of steps
 * @windows: windows per step
 * @noise, @posterior: seeds of noise
 */
typedef struct
{
  guint frames, steps, windows;
  const char *prompt;
  AvatarFaceBox box;
  guint64 noise, posterior;
} PipelineSetup;

/* Writes the model's folder; free with pipeline_remove(). */
char *pipeline_make_folder (void);
void pipeline_remove (char *folder);
/* Name -> Point; steps and windows are in the names as in the golden file, after its "CASE.". */
GHashTable *pipeline_run (const char *folder, const PipelineSetup *setup);

G_END_DECLS
