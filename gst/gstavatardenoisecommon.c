/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions that the task of avatardenoise and its changes while playing both call: times of frames,
 * the portrait fitted to the video, and reports. */
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavatarreport.h"

GstClockTime
gst_avatar_denoise_frames_to_time (GstAvatarDenoise *self, guint64 frames)
{
  return gst_util_uint64_scale (frames, GST_SECOND * self->features.fps_d, self->features.fps_n);
}

guint64
gst_avatar_denoise_first_frame (guint64 latent)
{
  return latent ? 4 * latent - 3 : 0;
}

void
gst_avatar_denoise_end_progress (GstAvatarDenoise *self, GstProgressType type, const gchar *text)
{
  const gchar *code = self->working_on;

  self->working_on = NULL;
  if (code)
    gst_avatar_report_progress (GST_ELEMENT (self), type, code, -1, text);
}

/* Asks the model's detector. One that is another network than is known is no reason not to go on. */
static AvatarFaceSearch
ask_detector (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    AvatarFaceBox *face, GError **error)
{
  g_autoptr (GError) local_error = NULL;
  AvatarFaceSearch result = avatar_image_find_face (image, self->user.engine->model,
      self->user.engine->device, width, height, face, &local_error);

  if (g_error_matches (local_error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH)) {
    gst_avatar_report_warning (self, g_steal_pointer (&local_error));
    return AVATAR_FACE_NO_DETECTOR;
  }
  if (local_error)
    g_propagate_error (error, g_steal_pointer (&local_error));
  return result;
}

/* The portrait fitted around the face that is given; @face: where it is then. */
static AvatarImage *
fit_given (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const AvatarBox *given, AvatarFaceBox *face, GError **error)
{
  AvatarModel *model = self->user.engine->model;
  AvatarBox box = *given;
  const gdouble shrunk = MAX (image->shrunk, 1);
  AvatarImage *fitted = avatar_image_fit (image, model, width, height, &box, error);

  if (!fitted)
    return NULL;
  *face = (AvatarFaceBox){ box.x, box.y, box.width, box.height };
  gst_avatar_report_face (GST_ELEMENT (self), "face-box", face, fitted->width, fitted->height);
  if (avatar_image_is_cropped (image, model, width, height))
    gst_avatar_reference_check_face (GST_ELEMENT (self), image, fitted, given->width / shrunk,
        given->height / shrunk);
  return fitted;
}

/* The same around the face that the model's detector finds, or the centre. */
static AvatarImage *
fit_found (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    AvatarFaceBox *face, GError **error)
{
  AvatarModel *model = self->user.engine->model;
  AvatarFaceSearch result = ask_detector (self, image, width, height, face, error);
  const AvatarFaceBox found = *face;
  gboolean cropped = avatar_image_is_cropped (image, model, width, height);
  AvatarImage *fitted = NULL;

  if (result != AVATAR_FACE_ERROR)
    fitted = avatar_image_fit_face (image, model, width, height, face, error);
  if (!fitted)
    return NULL;
  gst_avatar_report_face (GST_ELEMENT (self), result == AVATAR_FACE_FOUND ? "detector" : "none",
      face, fitted->width, fitted->height);
  if (result == AVATAR_FACE_FOUND && cropped)
    gst_avatar_reference_check_face (GST_ELEMENT (self), image, fitted, found.width, found.height);
  else if (result != AVATAR_FACE_FOUND)
    gst_avatar_reference_warn_no_face (GST_ELEMENT (self), image, result, cropped);
  return fitted;
}

AvatarImage *
gst_avatar_denoise_fit (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const GstAvatarDenoiseProps *props, AvatarFaceBox *face, GError **error)
{
  AvatarBox box;

  if (!gst_avatar_box_parse (props->face_box, &box, error))
    return NULL;
  return box.width > 0 ? fit_given (self, image, width, height, &box, face, error)
                       : fit_found (self, image, width, height, face, error);
}

void
gst_avatar_denoise_report_cuts (GstAvatarDenoise *self)
{
  static const gchar *const properties[] = { "prompt", "negative-prompt" };

  for (guint i = 0; i < G_N_ELEMENTS (properties); i++) {
    AvatarPromptTruncation cut;

    avatar_denoiser_get_prompt_truncation (self->denoiser, (AvatarPromptKind) i, &cut);
    gst_avatar_report_cut (GST_ELEMENT (self), properties[i], &cut);
  }
}
