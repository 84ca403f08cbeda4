/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

/**
 * SECTION:device
 * @title: AvatarDevice
 * @short_description: a CPU or GPU that stages compute on, with its memory budget
 *
 * Back-ends other than the CPU's are modules, which are loaded when their device is opened. A
 * device accounts for the memory of all stages that use it, and enforces one budget for them.
 *
 * Several GPUs can be one device, a group. Its members keep budgets of their own. Stages divide
 * their work among the members and give the same results as on one of them.
 *
 * All functions may be called from any thread.
 */

/**
 * AvatarDevice:
 *
 * A device, an opaque object with a reference count. Opening the same name twice gives the same
 * device.
 *
 * Since: 0.1
 */
typedef struct _AvatarDevice AvatarDevice;

/**
 * AvatarMemory:
 * @now: bytes in use by weights, activations and buffers of all stages on the device
 * @peak: highest value of @now since the device was opened
 * @budget: the budget in bytes; 0: none
 *
 * Memory of a device that the engine uses.
 *
 * Since: 0.1
 */
typedef struct _AvatarMemory AvatarMemory;
struct _AvatarMemory
{
  guint64 now;
  guint64 peak;
  guint64 budget;
  /*< private >*/
  gpointer _reserved[4];
};

/**
 * avatar_device_open:
 * @name: (nullable): "cpu"; "cuda" or "cuda:N", the GPU number N; "cuda:0+cuda:1" or "cuda:0+1", a
 *   group of GPUs, of which the first one leads; "cuda:all", all GPUs; "auto" or %NULL, the first
 *   GPU, or else the CPU
 * @error: return location for a #GError: #AVATAR_ERROR_DEVICE if there is no such device
 *
 * Opens a device, or takes a reference if it is already open.
 *
 * Returns: (transfer full) (nullable): the device, to be released with avatar_device_unref(), or
 * %NULL on error
 *
 * Since: 0.1
 */
AVATAR_API AvatarDevice *avatar_device_open (const char *name, GError **error);

/**
 * avatar_device_ref:
 * @device: a device
 *
 * Takes a reference.
 *
 * Returns: (transfer full): @device
 *
 * Since: 0.1
 */
AVATAR_API AvatarDevice *avatar_device_ref (AvatarDevice *device);

/**
 * avatar_device_unref:
 * @device: (transfer full): a device
 *
 * Releases a reference. The last one closes the device.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_device_unref (AvatarDevice *device);

/**
 * avatar_device_get_name:
 * @device: a device
 *
 * Gets the name of a device, for example "cuda:0".
 *
 * Returns: (transfer none): the name, valid as long as the device
 *
 * Since: 0.1
 */
AVATAR_API const char *avatar_device_get_name (AvatarDevice *device);

/**
 * avatar_device_get_description:
 * @device: a device
 *
 * Gets a description for logs, for example "cpu: oneDNN 2.6.3, avx512, 2 threads". Its form may
 * change.
 *
 * Returns: (transfer none): the description, valid as long as the device
 *
 * Since: 0.1
 */
AVATAR_API const char *avatar_device_get_description (AvatarDevice *device);

/**
 * avatar_device_get_n_members:
 * @device: a device
 *
 * Gets the number of devices of a group.
 *
 * Returns: the number of members; 1 unless @device is a group
 *
 * Since: 0.1
 */
AVATAR_API guint avatar_device_get_n_members (AvatarDevice *device);

/**
 * avatar_device_get_member:
 * @device: a device
 * @i: number of the member, less than avatar_device_get_n_members()
 *
 * Gets a member of a group, for its name, memory and budget.
 *
 * Returns: (transfer none): the member; @device itself unless it is a group
 *
 * Since: 0.1
 */
AVATAR_API AvatarDevice *avatar_device_get_member (AvatarDevice *device, guint i);

/**
 * avatar_device_get_memory:
 * @device: a device
 * @memory: (out caller-allocates): the memory in use
 *
 * Gets how much memory all stages use on the device. For a group these are sums over its members.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_device_get_memory (AvatarDevice *device, AvatarMemory *memory);

/**
 * avatar_device_set_budget:
 * @device: a device
 * @bytes: the highest amount of memory that all stages together may use, in bytes; 0: no limit
 *
 * Sets the memory budget; for a group, that of each member. A stage that does not fit fails when it
 * is made, with the smallest sufficient budget in its message. The budget may be changed during a
 * run: resident weights above it are evicted before the next block, and restored when there is
 * enough memory again. A run that cannot continue within the budget fails with
 * #AVATAR_ERROR_MEMORY.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_device_set_budget (AvatarDevice *device, guint64 bytes);

/**
 * avatar_device_parse_budget:
 * @device: (nullable): the device; %NULL: only the syntax is checked, and @bytes may be wrong
 * @text: (nullable): MiB as a number ("4096"), a share of the memory of the device ("80%"), or
 *   "auto", which %NULL and "" mean too: on a GPU the free memory and what the engine already uses,
 *   less a reserve; on the CPU no limit
 * @bytes: (out): the budget in bytes, for avatar_device_set_budget()
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS
 *
 * Converts the text of a memory budget to bytes.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_device_parse_budget (AvatarDevice *device, const char *text,
    guint64 *bytes, GError **error);

/**
 * avatar_device_parse_budgets:
 * @device: the device
 * @text: (nullable): one budget for each member, in the forms that avatar_device_parse_budget()
 *   takes, or several with commas between them, one for each member: "4096,8192"
 * @bytes: (out caller-allocates): avatar_device_get_n_members() budgets in bytes, for
 *   avatar_device_set_budget() of each member
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS
 *
 * Converts the text of the memory budgets of a group to bytes.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_device_parse_budgets (AvatarDevice *device, const char *text,
    guint64 *bytes, GError **error);

/**
 * avatar_parse_pinned_memory:
 * @text: (nullable): MiB as a number, which may be 0, a share of the memory of the machine ("50%"),
 *   or "auto", which %NULL and "" mean too: half of that memory
 * @bytes: (out): the amount in bytes, for #AvatarDenoiseSettings.pinned_bytes
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS
 *
 * Converts the text of an amount of pinned host memory to bytes.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_parse_pinned_memory (const char *text, guint64 *bytes, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarDevice, avatar_device_unref)

G_END_DECLS
