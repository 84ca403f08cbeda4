/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several speakers: see the header. */
#include "engine/denoise/speakers.h"

#include "engine/image/face.h"
#include "engine/model/config.h"

#include <math.h>
#include <string.h>

AvatarSpeaker *
avatar_speakers_copy (const AvatarDenoiseSettings *settings)
{
  AvatarSpeaker *copy = g_memdup2 (settings->speakers, settings->n_speakers * sizeof *copy);

  for (guint k = 0; k < settings->n_speakers; k++) {
    const AvatarImage *mask = copy[k].face_mask;

    if (mask)
      copy[k].face_mask = avatar_image_new (mask->width, mask->height, mask->channels, mask->stride,
          mask->data, NULL);
  }
  return copy;
}

void
avatar_speakers_free (AvatarSpeaker *speakers, guint n)
{
  for (guint k = 0; speakers && k < n; k++)
    avatar_image_free ((AvatarImage *) speakers[k].face_mask);
  g_free (speakers);
}

static gboolean
have_same_pixels (const AvatarImage *a, const AvatarImage *b)
{
  if (!a || !b)
    return a == b;
  for (guint y = 0; y < a->height; y++)
    for (guint x = 0; x < a->width; x++)
      if (a->data[(gsize) y * a->stride + x * a->channels]
          != b->data[(gsize) y * b->stride + x * b->channels])
        return FALSE;
  return TRUE;
}

gboolean
avatar_speakers_equal (const AvatarDenoiseSettings *a, const AvatarDenoiseSettings *b)
{
  gboolean same = a->n_speakers == b->n_speakers;

  for (guint k = 0; same && k < a->n_speakers; k++)
    same = memcmp (&a->speakers[k].face_box, &b->speakers[k].face_box, sizeof (AvatarFaceBox)) == 0
        && have_same_pixels (a->speakers[k].face_mask, b->speakers[k].face_mask);
  return same;
}

/* Checks what @s says about speaker @k, 1 to n_speakers. */
static gboolean
check_speaker (const AvatarDenoiseSettings *s, guint k, GError **error)
{
  const AvatarSpeaker *speaker = &s->speakers[k - 1];
  const AvatarImage *mask = speaker->face_mask;
  const AvatarFaceBox *box = &speaker->face_box;
  gboolean has_box
      = box->width > 0 && box->height > 0 && isfinite (box->x + box->y + box->width + box->height);

  if (mask && (mask->width != s->width || mask->height != s->height))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the face mask of speaker %u is %ux%u; expected the size of the video, %ux%u", k,
        mask->width, mask->height, s->width, s->height);
  else if (!mask && !has_box)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "speaker %u has the face box %g,%g,%g,%g and no face mask; expected a box of a width and "
        "height above 0, or a mask",
        k, box->x, box->y, box->width, box->height);
  else
    return TRUE;
  return FALSE;
}

/* Refuses masks without a cell: the voice would not be seen. */
static gboolean
check_masks (const AvatarDenoiseSettings *s, AvatarModel *model, GError **error)
{
  guint scale = avatar_model_get_info (model)->latent_scale;
  gsize n = (gsize) (s->width / scale) * (s->height / scale);
  g_autofree float *masks = avatar_speakers_make_masks (s, model);

  for (guint k = 0; k <= s->n_speakers; k++) {
    double sum = 0;

    for (gsize i = 0; i < n; i++)
      sum += masks[k * n + i];
    if (sum > 0)
      continue;
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "nothing is left of the face of speaker %u: it is outside the video, or the faces of the "
        "speakers before it cover it; expected a box or a mask for each face, the first one "
        "included, of which a part is its own",
        k);
    return FALSE;
  }
  return TRUE;
}

gboolean
avatar_speakers_check (const AvatarDenoiseSettings *s, AvatarModel *model, GError **error)
{
  if (s->n_speakers == 0)
    return TRUE;
  if (s->n_speakers >= AVATAR_MAX_SPEAKERS || !s->speakers) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found %u further speakers%s; at most %u are possible", s->n_speakers,
        s->speakers ? "" : " without their settings", AVATAR_MAX_SPEAKERS - 1);
    return FALSE;
  }
  for (guint k = 1; k <= s->n_speakers; k++)
    if (!check_speaker (s, k, error))
      return FALSE;
  return check_masks (s, model, error);
}

/* Gives each cell to the speaker with the largest mask, the first one of equal masks. */
static void
divide (float *masks, guint n_masks, gsize n)
{
  for (gsize i = 0; i < n; i++) {
    guint owner = 0;

    for (guint k = 1; k < n_masks; k++)
      if (masks[k * n + i] > masks[owner * n + i])
        owner = k;
    for (guint k = 0; k < n_masks; k++)
      if (k != owner)
        masks[k * n + i] = 0;
  }
}

float *
avatar_speakers_make_masks (const AvatarDenoiseSettings *s, AvatarModel *model)
{
  double area = avatar_model_get_config (model)->face_mask_area;
  guint scale = avatar_model_get_info (model)->latent_scale;
  gsize n = (gsize) (s->width / scale) * (s->height / scale);
  float *masks = g_new (float, (1 + s->n_speakers) * n);

  avatar_face_mask (masks, s->width, s->height, s->face_box, area, scale);
  for (guint k = 1; k <= s->n_speakers; k++) {
    const AvatarSpeaker *speaker = &s->speakers[k - 1];

    if (speaker->face_mask)
      avatar_face_mask_from_image (masks + k * n, speaker->face_mask, scale);
    else
      avatar_face_mask (masks + k * n, s->width, s->height, speaker->face_box, area, scale);
  }
  divide (masks, 1 + s->n_speakers, n);
  return masks;
}
