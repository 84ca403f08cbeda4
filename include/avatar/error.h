/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error domain of the engine. Every message says what was found, what was expected and what
 * to do about it. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define AVATAR_API __attribute__ ((visibility ("default")))

/**
 * AvatarError:
 * @AVATAR_ERROR_NOT_FOUND: a file, folder or tensor is not there
 * @AVATAR_ERROR_READ: a file is there but cannot be read
 * @AVATAR_ERROR_FORMAT: bytes are not what their format demands (truncated, corrupt, foreign)
 * @AVATAR_ERROR_MISMATCH: a tensor or configuration does not fit the model (shape, dtype, name)
 * @AVATAR_ERROR_SETTINGS: a setting, or a combination of settings, is impossible
 * @AVATAR_ERROR_MEMORY: the memory budget or the machine's memory does not suffice
 * @AVATAR_ERROR_DEVICE: the device is missing or failed
 * @AVATAR_ERROR_DATA: input data (audio, picture, latents) cannot be used
 * @AVATAR_ERROR_CANCELLED: the call was cancelled from another thread; not a failure
 */
typedef enum
{
  AVATAR_ERROR_NOT_FOUND,
  AVATAR_ERROR_READ,
  AVATAR_ERROR_FORMAT,
  AVATAR_ERROR_MISMATCH,
  AVATAR_ERROR_SETTINGS,
  AVATAR_ERROR_MEMORY,
  AVATAR_ERROR_DEVICE,
  AVATAR_ERROR_DATA,
  AVATAR_ERROR_CANCELLED,
} AvatarError;

#define AVATAR_ERROR (avatar_error_quark ())
AVATAR_API GQuark avatar_error_quark (void);

/**
 * AvatarPull:
 * @AVATAR_PULL_ERROR: failed; the #GError is set
 * @AVATAR_PULL_OK: one item was written
 * @AVATAR_PULL_EMPTY: nothing is ready: push more, or drain at the end of the stream
 *
 * What the pull verb of a stage answers.
 */
typedef enum
{
  AVATAR_PULL_ERROR = -1,
  AVATAR_PULL_OK = 0,
  AVATAR_PULL_EMPTY = 1,
} AvatarPull;

G_END_DECLS
