/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The portrait of avatardenoise, from a file or from the request pad. */
#pragma once

#include <avatar/image.h>
#include <avatar/model.h>
#include <gst/video/video.h>

G_BEGIN_DECLS

#define GST_AVATAR_REFERENCE_CAPS GST_VIDEO_CAPS_MAKE ("{ RGB, RGBA, RGBx }")

typedef struct
{
  GMutex lock;
  GCond cond;
  AvatarImage *image; /* in use; once it is set, only the task replaces it */
  AvatarImage *next;  /* the newest picture that the pad received since */
  GError *next_error; /* the error of that picture */
  GstClockTime pts;   /* PTS of the last picture */
  GstVideoInfo info;  /* caps of the pad */
  gboolean has_info;
  gboolean ended;    /* the pad has received EOS */
  gboolean flushing; /* waiting is not allowed */
  GError *error;     /* the error of the first picture */
} GstAvatarReference;

/* The part of the portrait that the video shows. */
typedef enum
{
  GST_AVATAR_FIT_WHOLE,
  GST_AVATAR_FIT_CROPPED,
} GstAvatarFit;

void gst_avatar_reference_init (GstAvatarReference *reference);
void gst_avatar_reference_clear (GstAvatarReference *reference);
/* Drops all pictures. */
void gst_avatar_reference_reset (GstAvatarReference *reference);
/* Takes the newest picture that the pad received after the one in use. %NULL: there is none, or
 * @error is set. */
AvatarImage *gst_avatar_reference_take_next (GstAvatarReference *reference, GError **error);
/* Returns a picture that was taken but not used, unless a newer one has arrived. Takes ownership of
 * @image. */
void gst_avatar_reference_put_back (GstAvatarReference *reference, AvatarImage *image);
/* Puts @image into use, and takes ownership of it. */
void gst_avatar_reference_set (GstAvatarReference *reference, AvatarImage *image);
/* Start and end of a flush, during which gst_avatar_reference_wait() returns at once. */
void gst_avatar_reference_start_flush (GstAvatarReference *reference);
void gst_avatar_reference_stop_flush (GstAvatarReference *reference);
gboolean
gst_avatar_reference_load (GstAvatarReference *reference, const gchar *path, GError **error);
/* Chain and event function of the request pad. Take ownership of @buffer and @event. */
GstFlowReturn gst_avatar_reference_take_buffer (GstAvatarReference *reference, GstBuffer *buffer);
gboolean gst_avatar_reference_take_event (GstAvatarReference *reference, GstEvent *event);
/* Waits for the first picture. Returns: (transfer none): %NULL with @error set. */
const AvatarImage *gst_avatar_reference_wait (GstAvatarReference *reference, GError **error);

/* Warns if a face of @width x @height pixels on @image is larger than the part of it that is
 * visible on @fitted. */
void gst_avatar_reference_check_face (GstElement *element, const AvatarImage *image,
    const AvatarImage *fitted, gdouble width, gdouble height);
/* Warns that no face was found on @image. If the model has no face detector, warns only if the
 * image is cropped. */
void gst_avatar_reference_warn_no_face (GstElement *element, const AvatarImage *image,
    const AvatarModelInfo *info, AvatarFaceSearch result, GstAvatarFit fit);
/* Warns if @face on @fitted is so small that its mouth has less than a cell of the latents. */
void gst_avatar_reference_check_face_size (GstElement *element, const AvatarFaceBox *face,
    const AvatarImage *fitted, const AvatarModelInfo *info);
/* Warns that the VAE changes the portrait to a PSNR of @psnr (dB), which is below the limit of the
 * model. */
void
gst_avatar_reference_warn_unknown (GstElement *element, const AvatarModelInfo *info, gdouble psnr);

/* Parses "x,y,width,height" in pixels of the portrait. %NULL or "": a box of size 0. */
gboolean gst_avatar_box_parse (const gchar *string, AvatarBox *box, GError **error);

G_END_DECLS
