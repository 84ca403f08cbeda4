/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A denoiser with a black portrait. */
#pragma once

#include <avatar/avatar.h>

/* Returns %NULL with @error. */
static inline AvatarDenoiser *
open_denoiser (AvatarModel *model, AvatarDevice *device, const AvatarDenoiseSettings *settings,
    GError **error)
{
  g_autofree guint8 *pixels = g_malloc0 ((gsize) settings->width * settings->height * 3);
  g_autoptr (AvatarImage) image
      = avatar_image_new (settings->width, settings->height, 3, settings->width * 3, pixels, error);
  g_autoptr (AvatarDenoiser) self
      = image ? avatar_denoiser_new (model, device, settings, error) : NULL;

  if (!self || !avatar_denoiser_set_reference (self, image, error))
    return NULL;
  return g_steal_pointer (&self);
}
