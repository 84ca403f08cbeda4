/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared helpers of avatardenoise's task and of its changes while playing: times of frames, fitting
 * the portrait to the video, reports. */
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavatarreport.h"

GstClockTime
gst_avatar_denoise_frames_to_time (GstAvatarDenoise *self, guint64 frames)
{
  return gst_util_uint64_scale (frames, GST_SECOND * self->features.fps_d, self->features.fps_n);
}

GstClockTime
gst_avatar_denoise_frame_to_pts (GstAvatarDenoise *self, guint64 frame)
{
  return self->base + gst_avatar_denoise_frames_to_time (self, frame);
}

guint64
gst_avatar_denoise_first_frame (guint64 latent)
{
  return latent ? 4 * latent - 3 : 0;
}

gboolean
gst_avatar_denoise_get_windows (GstAvatarDenoise *self, guint *window, guint *overlap)
{
  AvatarDenoiseSettings settings;

  GST_OBJECT_LOCK (self);
  gst_avatar_denoise_props_apply (self->has_active ? &self->active : &self->props,
      self->client.engine->model, &settings);
  GST_OBJECT_UNLOCK (self);
  *window = settings.window_latents;
  *overlap = settings.overlap;
  return settings.mode != AVATAR_DENOISE_MODE_CLIP && settings.window_latents > 0;
}

gboolean
gst_avatar_denoise_get_portions (GstAvatarDenoise *self, GstAvatarPortions *portions)
{
  guint window, overlap;
  gboolean known = gst_avatar_denoise_get_windows (self, &window, &overlap);

  portions->first = gst_avatar_denoise_first_frame (window);
  portions->further = overlap < window ? 4 * (window - overlap) : 0;
  return known;
}

guint
gst_avatar_denoise_limit_steps (GstAvatarDenoise *self, guint steps)
{
  return self->late.max_steps ? MIN (steps, self->late.max_steps) : steps;
}

guint
gst_avatar_denoise_get_wanted_steps (GstAvatarDenoise *self)
{
  AvatarDenoiseSettings settings;

  gst_avatar_denoise_props_apply (&self->active, self->client.engine->model, &settings);
  return settings.steps;
}

guint
gst_avatar_denoise_get_steps (GstAvatarDenoise *self)
{
  return gst_avatar_denoise_limit_steps (self, gst_avatar_denoise_get_wanted_steps (self));
}

GstFlowReturn
gst_avatar_denoise_push_held (GstAvatarDenoise *self)
{
  GstBufferList *held = g_steal_pointer (&self->held);

  return held ? gst_pad_push_list (self->srcpad, held) : GST_FLOW_OK;
}

void
gst_avatar_denoise_end_progress (GstAvatarDenoise *self, GstProgressType type, const gchar *text)
{
  const gchar *code = self->working_on;

  self->working_on = NULL;
  if (code)
    gst_avatar_report_progress (GST_ELEMENT (self), type, code, -1, text);
}

/* Runs the model's face detector. An unsupported detector network is not fatal: the whole
 * picture is animated, with a warning. */
static AvatarFaceSearch
find_face (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    AvatarFaceBox *face, GError **error)
{
  g_autoptr (GError) local_error = NULL;
  AvatarFaceSearch result = avatar_image_find_face (image, self->client.engine->model,
      self->client.engine->device, width, height, face, &local_error);

  if (g_error_matches (local_error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH)) {
    gst_avatar_report_warning (self, g_steal_pointer (&local_error));
    return AVATAR_FACE_NO_DETECTOR;
  }
  if (local_error)
    g_propagate_error (error, g_steal_pointer (&local_error));
  return result;
}

/* Fits the portrait around the face box of the user. @face: (out): the box on the fitted
 * picture. */
static AvatarImage *
fit_user_box (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const AvatarBox *user_box, AvatarFaceBox *face, GError **error)
{
  AvatarModel *model = self->client.engine->model;
  AvatarBox box = *user_box;
  const gdouble shrunk = MAX (image->shrunk, 1);
  AvatarImage *fitted = avatar_image_fit (image, model, width, height, &box, error);

  if (!fitted)
    return NULL;
  *face = (AvatarFaceBox){ box.x, box.y, box.width, box.height };
  gst_avatar_report_face (GST_ELEMENT (self), "face-box", face, fitted->width, fitted->height);
  if (avatar_image_is_cropped (image, model, width, height))
    gst_avatar_reference_check_face (GST_ELEMENT (self), image, fitted, user_box->width / shrunk,
        user_box->height / shrunk);
  return fitted;
}

/* Fits the portrait around the face that the detector finds, or around its centre. */
static AvatarImage *
fit_found (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    AvatarFaceBox *face, GError **error)
{
  AvatarModel *model = self->client.engine->model;
  AvatarFaceSearch result = find_face (self, image, width, height, face, error);
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
    gst_avatar_reference_warn_no_face (GST_ELEMENT (self), image, self->client.engine->info, result,
        cropped ? GST_AVATAR_FIT_CROPPED : GST_AVATAR_FIT_WHOLE);
  return fitted;
}

/* Warns of a portrait from which the model makes no good video. Failing to find out is no error. */
static void
check_portrait (GstAvatarDenoise *self, const AvatarImage *fitted, const AvatarFaceBox *face)
{
  const AvatarModelInfo *info = self->client.engine->info;
  g_autoptr (GError) error = NULL;
  gdouble psnr;

  gst_avatar_reference_check_face_size (GST_ELEMENT (self), face, fitted, info);
  if (info->portrait_psnr <= 0 || fitted->width != info->width || fitted->height != info->height)
    return; /* the limit is that of the model's own size */
  if (!avatar_image_measure (fitted, self->client.engine->model, self->client.engine->device, &psnr,
          &error))
    gst_avatar_report_warning (self, g_steal_pointer (&error));
  else if (psnr < info->portrait_psnr)
    gst_avatar_reference_warn_unknown (GST_ELEMENT (self), info, psnr);
}

AvatarImage *
gst_avatar_denoise_fit (GstAvatarDenoise *self, const AvatarImage *image, guint width, guint height,
    const GstAvatarDenoiseProps *props, AvatarFaceBox *face, GError **error)
{
  AvatarImage *fitted;
  AvatarBox box;

  if (!gst_avatar_box_parse (props->face_box, &box, error))
    return NULL;
  fitted = box.width > 0 ? fit_user_box (self, image, width, height, &box, face, error)
                         : fit_found (self, image, width, height, face, error);
  if (fitted)
    check_portrait (self, fitted, face);
  return fitted;
}

void
gst_avatar_denoise_report_warnings (GstAvatarDenoise *self)
{
  const char *const *text = avatar_denoiser_get_warnings (self->denoiser);

  for (; *text; text++)
    gst_avatar_report_warning (self,
        g_error_new_literal (AVATAR_ERROR, AVATAR_ERROR_SETTINGS, *text));
}

void
gst_avatar_denoise_report_truncations (GstAvatarDenoise *self)
{
  static const gchar *const properties[] = { "prompt", "negative-prompt" };

  for (guint i = 0; i < G_N_ELEMENTS (properties); i++) {
    AvatarPromptTruncation cut;

    avatar_denoiser_get_prompt_truncation (self->denoiser, (AvatarPromptKind) i, &cut);
    gst_avatar_report_truncation (GST_ELEMENT (self), properties[i], &cut);
  }
}
