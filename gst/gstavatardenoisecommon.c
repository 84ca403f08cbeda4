/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared helpers of avatardenoise's task and of its changes while playing: times of frames,
 * reports. */
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
