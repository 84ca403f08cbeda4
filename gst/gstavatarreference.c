/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Portraits from files and pads: see the header. */
#include "gst/gstavatarreference.h"

#include <stdio.h>
#include <string.h>

/* Latent cells across the smallest face whose mouth, a third of it, has a whole one. */
#define FACE_CELLS 3

void
gst_avatar_reference_init (GstAvatarReference *reference)
{
  g_mutex_init (&reference->lock);
  g_cond_init (&reference->cond);
  reference->pts = GST_CLOCK_TIME_NONE;
}

void
gst_avatar_reference_clear (GstAvatarReference *reference)
{
  gst_avatar_reference_reset (reference);
  g_mutex_clear (&reference->lock);
  g_cond_clear (&reference->cond);
}

void
gst_avatar_reference_reset (GstAvatarReference *reference)
{
  g_mutex_lock (&reference->lock);
  g_clear_pointer (&reference->image, avatar_image_free);
  g_clear_pointer (&reference->next, avatar_image_free);
  g_clear_error (&reference->error);
  g_clear_error (&reference->next_error);
  reference->pts = GST_CLOCK_TIME_NONE;
  reference->has_info = reference->ended = FALSE;
  g_mutex_unlock (&reference->lock);
}

void
gst_avatar_reference_start_flush (GstAvatarReference *reference)
{
  g_mutex_lock (&reference->lock);
  reference->flushing = TRUE;
  g_cond_broadcast (&reference->cond);
  g_mutex_unlock (&reference->lock);
}

void
gst_avatar_reference_stop_flush (GstAvatarReference *reference)
{
  g_mutex_lock (&reference->lock);
  reference->flushing = FALSE;
  g_mutex_unlock (&reference->lock);
}

gboolean
gst_avatar_reference_load (GstAvatarReference *reference, const gchar *path, GError **error)
{
  AvatarImage *image = avatar_image_load (path, error);

  if (!image)
    return FALSE;
  gst_avatar_reference_set (reference, image);
  return TRUE;
}

void
gst_avatar_reference_set (GstAvatarReference *reference, AvatarImage *image)
{
  g_mutex_lock (&reference->lock);
  g_clear_pointer (&reference->image, avatar_image_free);
  reference->image = image;
  g_mutex_unlock (&reference->lock);
}

AvatarImage *
gst_avatar_reference_take_next (GstAvatarReference *reference, GError **error)
{
  AvatarImage *image;

  g_mutex_lock (&reference->lock);
  image = g_steal_pointer (&reference->next);
  if (reference->next_error)
    g_propagate_error (error, g_steal_pointer (&reference->next_error));
  g_mutex_unlock (&reference->lock);
  return image;
}

void
gst_avatar_reference_put_back (GstAvatarReference *reference, AvatarImage *image)
{
  g_mutex_lock (&reference->lock);
  if (!reference->next)
    reference->next = g_steal_pointer (&image);
  g_mutex_unlock (&reference->lock);
  avatar_image_free (image);
}

/* Removes the fourth byte of RGBx, which is undefined and is not an alpha value. */
static AvatarImage *
image_from_frame (const GstVideoFrame *frame, GError **error)
{
  const guint width = GST_VIDEO_FRAME_WIDTH (frame), height = GST_VIDEO_FRAME_HEIGHT (frame);
  const guint stride = GST_VIDEO_FRAME_PLANE_STRIDE (frame, 0);
  const guint8 *data = GST_VIDEO_FRAME_PLANE_DATA (frame, 0);
  g_autofree guint8 *packed = NULL;

  if (GST_VIDEO_FRAME_FORMAT (frame) != GST_VIDEO_FORMAT_RGBx)
    return avatar_image_new (width, height,
        GST_VIDEO_FRAME_FORMAT (frame) == GST_VIDEO_FORMAT_RGBA ? 4 : 3, stride, data, error);
  packed = g_malloc ((gsize) width * height * 3);
  for (guint y = 0; y < height; y++)
    for (guint x = 0; x < width; x++)
      memcpy (packed + 3 * ((gsize) y * width + x), data + (gsize) y * stride + 4 * x, 3);
  return avatar_image_new (width, height, 3, 3 * width, packed, error);
}

/* Called with the lock held. Returns %TRUE if @buffer follows the last picture as in a video. */
static gboolean
is_of_video (GstAvatarReference *reference, GstBuffer *buffer)
{
  gint n = GST_VIDEO_INFO_FPS_N (&reference->info), d = GST_VIDEO_INFO_FPS_D (&reference->info);
  GstClockTime before = reference->pts, pts = GST_BUFFER_PTS (buffer);

  reference->pts = pts;
  return n > 0 && GST_CLOCK_TIME_IS_VALID (before) && GST_CLOCK_TIME_IS_VALID (pts)
      && ABS (GST_CLOCK_DIFF (before, pts))
      <= (GstClockTimeDiff) gst_util_uint64_scale_int (2 * GST_SECOND, d, n);
}

/* Called with the lock held. */
static void
take_picture (GstAvatarReference *reference, GstBuffer *buffer)
{
  gboolean first = !reference->image;
  AvatarImage *image = NULL;
  GError *error = NULL;
  GstVideoFrame frame;

  if (gst_video_frame_map (&frame, &reference->info, buffer, GST_MAP_READ)) {
    image = image_from_frame (&frame, &error);
    gst_video_frame_unmap (&frame);
  } else {
    g_set_error (&error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "the picture on the reference pad cannot be mapped");
  }
  if (first) {
    reference->image = image;
    reference->error = error;
    return;
  }
  g_clear_pointer (&reference->next, avatar_image_free);
  g_clear_error (&reference->next_error);
  reference->next = image;
  reference->next_error = error;
}

GstFlowReturn
gst_avatar_reference_take_buffer (GstAvatarReference *reference, GstBuffer *buffer)
{
  GstFlowReturn ret = GST_FLOW_OK;

  g_mutex_lock (&reference->lock);
  if (!reference->has_info)
    ret = GST_FLOW_NOT_NEGOTIATED;
  else if (reference->error || is_of_video (reference, buffer))
    ret = GST_FLOW_EOS; /* stops the source of a video after its first frame */
  else
    take_picture (reference, buffer);
  g_cond_broadcast (&reference->cond);
  g_mutex_unlock (&reference->lock);
  gst_buffer_unref (buffer);
  return ret;
}

gboolean
gst_avatar_reference_take_event (GstAvatarReference *reference, GstEvent *event)
{
  gboolean ret = TRUE;
  GstCaps *caps;

  g_mutex_lock (&reference->lock);
  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_CAPS:
      gst_event_parse_caps (event, &caps);
      ret = reference->has_info = gst_video_info_from_caps (&reference->info, caps);
      break;
    case GST_EVENT_STREAM_START:
    case GST_EVENT_SEGMENT:
      reference->pts = GST_CLOCK_TIME_NONE;
      break;
    case GST_EVENT_EOS:
      reference->ended = TRUE;
      g_cond_broadcast (&reference->cond);
      break;
    default:
      break;
  }
  g_mutex_unlock (&reference->lock);
  gst_event_unref (event);
  return ret;
}

const AvatarImage *
gst_avatar_reference_wait (GstAvatarReference *reference, GError **error)
{
  const AvatarImage *image;

  g_mutex_lock (&reference->lock);
  while (!reference->image && !reference->error && !reference->ended && !reference->flushing)
    g_cond_wait (&reference->cond, &reference->lock);
  image = reference->image;
  if (!image && reference->error)
    g_propagate_error (error, g_error_copy (reference->error));
  else if (!image && reference->flushing)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "flushing");
  else if (!image)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "no portrait: the reference pad ended before its first picture");
  g_mutex_unlock (&reference->lock);
  return image;
}

void
gst_avatar_reference_check_face (GstElement *element, const AvatarImage *image,
    const AvatarImage *fitted, gdouble width, gdouble height)
{
  gdouble scale
      = MAX ((gdouble) fitted->width / image->width, (gdouble) fitted->height / image->height);

  if (width * scale < fitted->width + 1 && height * scale < fitted->height + 1)
    return;
  GST_ELEMENT_WARNING (element, RESOURCE, SETTINGS,
      ("the face has %.0f x %.0f pixels on a portrait of %u x %u, which is larger than the part that "
       "is visible in a video of %u x %u: its edges are cut off; choose a video size with the "
       "portrait's aspect ratio",
          width, height, image->width, image->height, fitted->width, fitted->height),
      (NULL));
}

/* Returns what may help with a portrait that does not suit the model. Models with a limit for
 * portraits are small ones. */
static const gchar *
remedies (const AvatarModelInfo *info)
{
  return info->portrait_psnr > 0
      ? "use another portrait, or use the released weights instead of this small model "
        "(docs/guide/weights.md; avatar-inspect says where to download them)"
      : "use another portrait";
}

void
gst_avatar_reference_check_face_size (GstElement *element, const AvatarFaceBox *face,
    const AvatarImage *fitted, const AvatarModelInfo *info)
{
  const guint least = FACE_CELLS * info->latent_scale;

  if (face->width <= 0 || face->height <= 0 || MIN (face->width, face->height) >= least)
    return;
  GST_ELEMENT_WARNING (element, RESOURCE, SETTINGS,
      ("the face has %.0f x %.0f pixels in a video of %u x %u; expected at least %u x %u, since the "
       "movement of smaller lips is not visible: crop the portrait to the head, %s",
          face->width, face->height, fitted->width, fitted->height, least, least, remedies (info)),
      (NULL));
}

void
gst_avatar_reference_warn_unknown (GstElement *element, const AvatarModelInfo *info, gdouble psnr)
{
  GST_ELEMENT_WARNING (element, RESOURCE, SETTINGS,
      ("the portrait is unlike the pictures that the model was trained on: the VAE alone changes it to "
       "a PSNR of %.1f dB; expected at least %.1f dB: the face may be smeared, and may move little; "
       "crop the portrait to the head, %s",
          psnr, info->portrait_psnr, remedies (info)),
      (NULL));
}

void
gst_avatar_reference_warn_no_face (GstElement *element, const AvatarImage *image,
    const AvatarModelInfo *info, AvatarFaceSearch result, GstAvatarFit fit)
{
  gboolean cropped = fit == GST_AVATAR_FIT_CROPPED;
  const gchar *way = remedies (info);
  const gchar *crop = cropped ? ", and it is cropped around its centre" : "";

  if (result == AVATAR_FACE_NONE)
    GST_ELEMENT_WARNING (element, STREAM, DECODE,
        ("no face was found on the portrait of %u x %u pixels; expected one upright face: the whole "
         "picture may move%s; set face-box=x,y,width,height, %s",
            image->width, image->height, crop, way),
        (NULL));
  else if (cropped)
    GST_ELEMENT_WARNING (element, RESOURCE, SETTINGS,
        ("the model has no supported face detector (det_align/detface.pt) to search the portrait of "
         "%u x %u pixels: the whole picture may move%s; set face-box=x,y,width,height, %s",
            image->width, image->height, crop, way),
        (NULL));
}

gboolean
gst_avatar_box_parse (const gchar *string, AvatarBox *box, GError **error)
{
  gchar rest;

  memset (box, 0, sizeof *box);
  if (!string || *string == '\0')
    return TRUE;
  if (strchr (string, '-') == NULL
      && sscanf (string, "%u,%u,%u,%u%c", &box->x, &box->y, &box->width, &box->height, &rest) == 4
      && box->width > 0 && box->height > 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "face-box \"%s\" is invalid: expected x,y,width,height in pixels of the whole portrait, with width "
      "and height above 0, such as 120,80,200,220",
      string);
  return FALSE;
}
