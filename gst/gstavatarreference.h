/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The portrait of avatardenoise: from a file, or pictures of a request sink pad. */
#pragma once

#include <avatar/image.h>
#include <gst/video/video.h>

G_BEGIN_DECLS

#define GST_AVATAR_REFERENCE_CAPS GST_VIDEO_CAPS_MAKE ("{ RGB, RGBA, RGBx }")

typedef struct
{
  GMutex lock;
  GCond cond;
  AvatarImage *image; /* in force; once it is there, the task alone replaces it */
  AvatarImage *next;  /* came on the pad since, the newest */
  GError *next_error; /* what was wrong with that */
  GstClockTime pts;   /* of the last picture */
  GstVideoInfo info;  /* of what comes in on the pad */
  gboolean has_info;
  gboolean ended;    /* the pad has seen EOS */
  gboolean flushing; /* nobody may wait */
  GError *error;     /* what was wrong with the picture on the pad */
} GstAvatarReference;

void gst_avatar_reference_init (GstAvatarReference *reference);
void gst_avatar_reference_clear (GstAvatarReference *reference);
/* Forgets the picture. */
void gst_avatar_reference_reset (GstAvatarReference *reference);
/* The newest picture of the pad after the one in force, which stays; %NULL: none, or @error. */
AvatarImage *gst_avatar_reference_take_next (GstAvatarReference *reference, GError **error);
/* It was not used: as if it had not been taken, unless a newer one has come. Takes @image. */
void gst_avatar_reference_put_back (GstAvatarReference *reference, AvatarImage *image);
/* @image is in force. Takes it. */
void gst_avatar_reference_set (GstAvatarReference *reference, AvatarImage *image);
void gst_avatar_reference_set_flushing (GstAvatarReference *reference, gboolean flushing);
gboolean
gst_avatar_reference_load (GstAvatarReference *reference, const gchar *path, GError **error);
/* The request pad's chain and event functions, less the bookkeeping of pads. Take what they get. */
GstFlowReturn gst_avatar_reference_take_buffer (GstAvatarReference *reference, GstBuffer *buffer);
gboolean gst_avatar_reference_take_event (GstAvatarReference *reference, GstEvent *event);
/* Waits for the picture: owned by @reference. %NULL: @error says why. */
const AvatarImage *gst_avatar_reference_wait (GstAvatarReference *reference, GError **error);

/* Warns where a face of @width x @height pixels of @image is larger than what a crop leaves of it,
 * which is @fitted. */
void gst_avatar_reference_check_face (GstElement *element, const AvatarImage *image,
    const AvatarImage *fitted, gdouble width, gdouble height);
/* Warns that no face was found on @image, or, where the model has no detector and the portrait is
 * @cropped, that none was looked for. */
void gst_avatar_reference_warn_no_face (GstElement *element, const AvatarImage *image,
    AvatarFaceSearch result, gboolean cropped);

/* "x,y,width,height" in pixels of the portrait; %NULL or "" = not given. */
gboolean gst_avatar_box_parse (const gchar *string, AvatarBox *box, GError **error);

G_END_DECLS
