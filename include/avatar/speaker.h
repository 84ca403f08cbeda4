/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/**
 * AVATAR_MAX_SPEAKERS:
 *
 * Largest number of speakers of a denoiser, the first one included.
 *
 * Since: 0.1
 */
#define AVATAR_MAX_SPEAKERS 4

/**
 * AvatarSpeaker:
 * @face_box: the speaker's face on the fitted portrait, in pixels; not used with @face_mask
 * @face_mask: (nullable): picture of the video's size whose first channel is the weight of the
 *   speaker's voice at each pixel: 255 on the face, 0 outside; %NULL: the mask is made from
 *   @face_box, like that of the first speaker
 *
 * A further speaker of a portrait with several faces. Each speaker has features of its own, which
 * move only the face of the speaker.
 *
 * Where masks overlap, each latent cell belongs to the speaker whose mask is largest there, the
 * first one of equal masks: no part of the picture follows two voices. A speaker that has no cell
 * is an error.
 *
 * Since: 0.1
 */
typedef struct _AvatarSpeaker AvatarSpeaker;
struct _AvatarSpeaker
{
  AvatarFaceBox face_box;
  const AvatarImage *face_mask;
  /*< private >*/
  gpointer _reserved[3];
};

G_END_DECLS
