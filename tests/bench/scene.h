/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A run of all stages for measurements: a tone with syllables as sound, the latents and frames that
 * result, and their differences from those of another run. Errors end the program. */
#pragma once

#include <avatar/avatar.h>

G_BEGIN_DECLS

/* @features: float, of all frames
 * @n_features: floats of a frame
 * @frames, @latents: length of the clip */
typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarImage *portrait;
  GArray *features;
  gsize n_features;
  guint frames, latents;
} Scene;

/* @latents: float
 * @forwards: forwards of the whole transformer
 * @seconds: time of the processor for the latents, all threads */
typedef struct
{
  GArray *latents;
  GByteArray *rgb;
  guint forwards;
  double seconds;
} Result;

/* Ends the program. @error: (nullable): %NULL: a stage gave nothing */
void die (GError *error) G_GNUC_NORETURN;
/* Opens the model and the CPU. Returns the portrait, which belongs to the caller. */
AvatarImage *scene_open (Scene *scene, const char *model, const char *portrait);
void scene_clear (Scene *scene);
/* Sets the features of the sound, for @frames. */
void scene_hear (Scene *scene);
Result result_new (void);
void result_clear (Result *result);
/* Makes the latents with @self, which is new. */
void scene_denoise (const Scene *scene, AvatarDenoiser *self, Result *result);
/* Makes the frames of the latents. */
void scene_decode (const Scene *scene, guint width, guint height, Result *result);
/* Returns the relative L2 error of @a, of the length of @b. */
double relative_error (const GArray *a, const GArray *b);
/* Returns the PSNR in dB; infinity if the frames are the same. */
double psnr (const GByteArray *a, const GByteArray *b);

G_END_DECLS
