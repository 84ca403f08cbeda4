/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * SECTION:error
 * @title: Errors and results
 * @short_description: the error domain, and the results that stages return
 *
 * Functions that can fail take a #GError as their last parameter. The message says what was found,
 * what was expected, and what to do about it.
 *
 * Structures end in reserved fields, so that later versions can add fields without a new soname.
 * Settings are filled by their avatar_*_init() function, or else set to zero, before fields are
 * assigned. A reserved field that is not zero is refused with #AVATAR_ERROR_SETTINGS: the program
 * was compiled for a later version of the library.
 */

/**
 * AVATAR_API:
 *
 * Marks the functions that the library exports.
 *
 * Since: 0.1
 */
#define AVATAR_API __attribute__ ((visibility ("default")))

/**
 * AvatarError:
 * @AVATAR_ERROR_NOT_FOUND: a file, folder or tensor is missing
 * @AVATAR_ERROR_READ: a file exists but cannot be read
 * @AVATAR_ERROR_FORMAT: a file violates its format (truncated, corrupt or of another format)
 * @AVATAR_ERROR_MISMATCH: a tensor or configuration does not fit the model (shape, dtype, name)
 * @AVATAR_ERROR_SETTINGS: a setting, or a combination of settings, is impossible
 * @AVATAR_ERROR_MEMORY: the memory budget, or the memory of the machine, is too small
 * @AVATAR_ERROR_DEVICE: the device is missing or failed
 * @AVATAR_ERROR_DATA: input data (audio, picture, latents) cannot be used
 * @AVATAR_ERROR_CANCELLED: the call was cancelled from another thread; this is not a failure
 *
 * Codes of the error domain #AVATAR_ERROR.
 *
 * Since: 0.1
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

/**
 * AVATAR_ERROR:
 *
 * The error domain of the engine, with the codes of #AvatarError.
 *
 * Since: 0.1
 */
#define AVATAR_ERROR (avatar_error_quark ())

/**
 * avatar_error_quark:
 *
 * Gets the error domain; use the macro %AVATAR_ERROR. May be called from any thread.
 *
 * Returns: the quark of #AvatarError
 *
 * Since: 0.1
 */
AVATAR_API GQuark avatar_error_quark (void);

/**
 * AvatarPull:
 * @AVATAR_PULL_ERROR: the call failed and the #GError is set
 * @AVATAR_PULL_OK: one item was written
 * @AVATAR_PULL_EMPTY: no item is ready: push more, or drain at the end of the stream
 *
 * Result of the pull function of a stage.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_PULL_ERROR = -1,
  AVATAR_PULL_OK = 0,
  AVATAR_PULL_EMPTY = 1,
} AvatarPull;

G_END_DECLS
