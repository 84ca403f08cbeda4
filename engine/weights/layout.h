/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding the files of a model in the tree in which it was released (spec denoise.md 1.1). */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

/* The face detector of a plain folder, which may be missing. */
#define AVATAR_PLAIN_DETECTOR "detface.pt"

/**
 * AvatarLayout: paths, and the configuration as the text of a config.json
 * @scales: factors of an 8-bit transformer, or %NULL
 * @llava, @clip: the text encoders' weights; these alone need not be there
 * @llava_config, @clip_config: the texts of their own config.json, or %NULL
 * @detector: the face detector, which may be missing: then %NULL, or, of a survey, where it should be
 */
typedef struct
{
  char *transformer, *scales, *vae, *whisper, *detector, *llava, *clip;
  char *config, *llava_config, *clip_config;
} AvatarLayout;

/* Whether @path is the tree, a folder above or inside it, or a transformer's file in it. */
gboolean avatar_layout_is_released (const char *path);
/* @path is of a released tree. Fails if a part is missing; clear @self in any case. The sizes are the
 * released ones, or those of avatar-config.json beside the transformer; the VAE's and Whisper's own
 * config.json come before both. */
gboolean avatar_layout_find (AvatarLayout *self, const char *path, GError **error);
/* The same of a tree from which anything may be missing, also the transformer: paths are where files
 * are, or where they should be. *@root: (out): the folder that is called ckpts in the release; %NULL
 * if @path is of no such tree. FALSE only where sizes cannot be read. */
gboolean avatar_layout_survey (AvatarLayout *self, const char *path, char **root, GError **error);
void avatar_layout_clear (AvatarLayout *self);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarLayout, avatar_layout_clear)

G_END_DECLS
