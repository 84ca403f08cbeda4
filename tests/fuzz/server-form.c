/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: the body of a request for a job, a form of several parts. A form that is taken has
 * text without control characters in its fields, and files within the body. */
#include "tests/fuzz/target.h"

#include "tools/server/job-upload.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (SoupMessageHeaders) headers = soup_message_headers_new (SOUP_MESSAGE_HEADERS_REQUEST);
  /* A zero byte follows, as soup_message_body_flatten() writes it. */
  g_autofree char *text = g_strndup ((const char *) data, size);
  g_autoptr (GBytes) body = NULL;
  g_autoptr (AvatarProblem) problem = NULL;
  AvatarJobUpload upload;
  gboolean good;

  memcpy (text, data, size);
  body = g_bytes_new_static (text, size);
  soup_message_headers_append (headers, "Content-Type", "multipart/form-data; boundary=x");
  good = avatar_job_upload_parse (&upload, headers, body, &problem);
  g_assert (good == !problem);
  g_assert (!problem || (problem->found && g_utf8_validate (problem->found, -1, NULL)));
  g_assert (!upload.settings.prompt || g_utf8_validate (upload.settings.prompt, -1, NULL));
  g_assert (!upload.audio || g_bytes_get_size (upload.audio) < size);
  g_assert (!upload.image || g_bytes_get_size (upload.image) < size);
  if (upload.image)
    avatar_check_image (upload.image, NULL);
  avatar_job_upload_clear (&upload);
  return 0;
}
