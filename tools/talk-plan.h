/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plan of a run of pipelines/talk: memory and work, from the properties of the elements in its
 * pipeline. */
#pragma once

#include <avatar/avatar.h>
#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * TalkPlan:
 * @length: duration of the audio in ns
 * @frames: number of video frames
 * @denoise, @decode: settings of the stages
 * @plan: plan of the device, or of the first device of a group
 * @budgets: (array): budget of each device of a group in bytes; 0: none
 * @peaks, @minima: (array): highest memory of each device, and its smallest sufficient budget
 * @host_bytes: highest memory in use on the host
 * @preset, @loras: owners of what @denoise refers to
 */
typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  GstClockTime length;
  guint frames;
  AvatarDenoiseSettings denoise;
  AvatarDecodeSettings decode;
  AvatarPlan plan;
  GArray *budgets, *peaks, *minima;
  guint64 host_bytes;
  AvatarPreset *preset;
  GArray *loras;
} TalkPlan;

/* Plans the run of @pipeline, which has one avatardenoise and one avatarvaedecode.
 * @length: duration of the audio in ns
 * @width, @height: size of the video in pixels; 0: the one that the model chooses for the portrait
 * Returns: %FALSE with @error if the run is not possible, or a budget is too small */
gboolean talk_plan_make (TalkPlan *self, GstBin *pipeline, GstClockTime length, guint width,
    guint height, GError **error);
void talk_plan_clear (TalkPlan *self);
/* Returns: floating-point operations of the whole run. */
double talk_plan_work (const TalkPlan *self);
/* Returns: the part of them that a stage takes.
 * @stage: name in the message avatar-window: "audio", "denoise" or "decode" */
double talk_plan_share (const TalkPlan *self, const char *stage);
/* Prints size, length and memory. @time: estimate in words */
void talk_plan_print (const TalkPlan *self, const char *time);

G_END_DECLS
