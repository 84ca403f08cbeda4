/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan of a whole run: every stage's own plan, side by side. */
#include <avatar/plan.h>

#include "engine/audio/encoder.h"
#include "engine/denoise/denoiser.h"
#include "engine/vae/encoder.h"
#include "engine/vae/stage.h"

gboolean
avatar_plan_make (AvatarModel *model, const char *device_name, const AvatarDenoiseSettings *denoise,
    const AvatarDecodeSettings *decode, guint frames, AvatarPlan *plan, GError **error)
{
  g_autoptr (AvatarDevice) device = avatar_device_open (device_name, error);
  AvatarPlanStage *audio = &plan->stages[0], *portrait = &plan->stages[1];
  AvatarPlanStage *denoiser = &plan->stages[2], *decoder = &plan->stages[3];
  guint width = denoise->width, height = denoise->height;
  guint64 together;

  if (!device)
    return FALSE;
  if (frames == 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "a video of 0 frames cannot be planned; give at least 1");
    return FALSE;
  }
  *plan = (AvatarPlan){ .n_stages = 4 };
  audio->name = "audio encoder";
  portrait->name = "portrait encoder";
  denoiser->name = "denoiser";
  decoder->name = "decoder";
  if (!avatar_audio_encoder_plan (model, device, frames, &audio->weight_bytes, &audio->arena_bytes,
          &audio->flops, &audio->bytes, error)
      || !avatar_denoiser_plan (model, device, denoise, frames, &denoiser->weight_bytes,
          &denoiser->arena_bytes, &denoiser->flops, &denoiser->bytes, error)
      || !avatar_vae_encoder_plan (model, device, width, height, &portrait->weight_bytes,
          &portrait->arena_bytes, &portrait->flops, &portrait->bytes, error)
      || !avatar_decoder_plan (model, device, width, height, decode, frames, &decoder->weight_bytes,
          &decoder->arena_bytes, &decoder->flops, &decoder->bytes, error))
    return FALSE;
  /* the portrait is encoded once, before the first window, and its memory given back */
  together = audio->weight_bytes + audio->arena_bytes + denoiser->weight_bytes
      + denoiser->arena_bytes + decoder->weight_bytes + decoder->arena_bytes;
  plan->peak_bytes = together + portrait->weight_bytes + portrait->arena_bytes;
  return TRUE;
}
