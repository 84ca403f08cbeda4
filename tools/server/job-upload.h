/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the body of a request for a job, multipart/form-data, and checks its files by content. */
#pragma once

#include "tools/server/job-queue.h"
#include "tools/server/server-config.h"

#include <libsoup/soup.h>

G_BEGIN_DECLS

/* Parts of a form. The files are NULL if the form does not have them. */
typedef struct
{
  GBytes *audio, *image;
  AvatarJobSettings settings;
} AvatarJobUpload;

/* Splits @body into the parts of the form. A zero byte must follow it in memory, as
 * soup_message_body_flatten() writes it: libsoup 3.2 searches the body up to one. */
gboolean avatar_job_upload_parse (AvatarJobUpload *self, SoupMessageHeaders *headers, GBytes *body,
    AvatarProblem **problem);
void avatar_job_upload_clear (AvatarJobUpload *self);
/* Refuses bytes that do not begin as PNG or JPEG. */
gboolean avatar_check_image (GBytes *image, AvatarProblem **problem);
/* Refuses a picture that the engine does not read. */
gboolean avatar_check_image_file (const char *path, AvatarProblem **problem);
/* Refuses a file whose content is no sound, or too long a one. @n_frames: video frames of it,
 * 0: not known. */
gboolean avatar_check_sound_file (const AvatarServerConfig *config, const char *path,
    guint *n_frames, AvatarProblem **problem);
/* Checks the files, writes them, and adds the job. Takes the place that was reserved in the queue
 * if it succeeds. Blocks: call it from a thread. */
AvatarJob *avatar_job_upload_store (AvatarJobUpload *self, const AvatarServerConfig *config,
    AvatarJobQueue *queue, AvatarProblem **problem);

G_END_DECLS
