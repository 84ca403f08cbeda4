/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarLoraSchedule:
 * @strengths: (nullable) (array length=n_strengths): factors for the steps. A window with another
 *   number of steps than @n_strengths uses the one at i @n_strengths / steps, rounded down, in step
 *   i. %NULL: 1 in the steps of the range, 0 in the others
 * @n_strengths: number of @strengths
 * @sigma_from: largest noise level of the range, 0 to 1; not used with @strengths
 * @sigma_to: smallest noise level of the range, 0 to @sigma_from
 *
 * Strength of a LoRA in each step.
 *
 * Since: 0.1
 */
typedef struct _AvatarLoraSchedule AvatarLoraSchedule;
struct _AvatarLoraSchedule
{
  const double *strengths;
  guint n_strengths;
  double sigma_from, sigma_to;
  /*< private >*/
  gpointer _reserved[4];
};

/**
 * AvatarLoraSetting:
 * @path: the file, in any common format and naming
 * @strength: factor; 1 is the strength that it was trained for
 * @schedule: (nullable): factors on @strength that depend on the step; %NULL: 1. Only for weights
 *   that are used in steps: not for the embedding of latents, the reference and the audio's keys
 *   and values
 *
 * A LoRA to merge into the weights of the transformer.
 *
 * Since: 0.1
 */
typedef struct _AvatarLoraSetting AvatarLoraSetting;
struct _AvatarLoraSetting
{
  const char *path;
  double strength;
  const AvatarLoraSchedule *schedule;
  /*< private >*/
  gpointer _reserved[1];
};

G_END_DECLS
