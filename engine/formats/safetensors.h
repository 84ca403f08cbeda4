/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One safetensors file as a table of named tensor sources. Nothing in it is trusted. */
#pragma once

#include "engine/formats/tensor-source.h"

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _AvatarSafetensors AvatarSafetensors;

/* Maps @path and checks its table. */
AvatarSafetensors *avatar_safetensors_open (const char *path, GError **error);
/* @name: path of the file, for messages */
AvatarSafetensors *avatar_safetensors_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_safetensors_free (AvatarSafetensors *self);
/* FALSE: there is no such tensor. */
gboolean
avatar_safetensors_get (AvatarSafetensors *self, const char *name, AvatarTensorSource *out);
guint avatar_safetensors_n (AvatarSafetensors *self);
/* Number of tensors that have data of their own, which come first. The others were left out of the
 * file because they are tied to one of these. */
guint avatar_safetensors_n_stored (AvatarSafetensors *self);
/* Returns the name of tensor @i, in the order of the data. @out is optional. */
const char *avatar_safetensors_nth (AvatarSafetensors *self, guint i, AvatarTensorSource *out);
/* Tensors with a dtype or number of dimensions that is not read: name, and the reason in @why. */
guint avatar_safetensors_n_unread (AvatarSafetensors *self);
const char *avatar_safetensors_nth_unread (AvatarSafetensors *self, guint i, const char **why);
/* Value of "__metadata__", whose members may have any type; %NULL if there is none. */
JsonObject *avatar_safetensors_get_metadata (AvatarSafetensors *self);
/* Bytes of the table, for hashing. */
const guint8 *avatar_safetensors_get_header (AvatarSafetensors *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarSafetensors, avatar_safetensors_free)

G_END_DECLS
