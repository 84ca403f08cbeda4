/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding the files of a model in the folders that people have: the tree in which it was released
 * (docs/dev/spec/denoise.md 1.1), the flat folder of Wan2GP
 * (docs/dev/spec/vae-text-face-formats.md 5.4; Wan2GP's models/hyvideo/hunyuan_handler.py and
 * defaults/hunyuan_avatar.json), and what avatar-pack makes of any model. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

#define AVATAR_LAYOUT_NAMES 4
/* The face detector of a plain folder, which may be missing. */
#define AVATAR_PLAIN_DETECTOR "detface.pt"
/* The sizes, where they are not the released ones. */
#define AVATAR_LAYOUT_CONFIG "avatar-config.json"

/* @folder: of a text encoder; @files: its weights, any of them; @patterns: what else they may be called, if
 * none of these is there: the largest is taken; @vision: patterns of files of a vision tower that the
 * weights may lack; @beside: what must lie there, too, any of "a|b" of each: its configuration first,
 * without which it has the released sizes */
typedef struct
{
  const char *folder;
  const char *files[AVATAR_LAYOUT_NAMES], *patterns[AVATAR_LAYOUT_NAMES];
  const char *vision[AVATAR_LAYOUT_NAMES], *beside[AVATAR_LAYOUT_NAMES];
} AvatarLayoutEncoder;

/**
 * AvatarLayoutForm: what files are called in one of them. Paths are from its top; lists end with %NULL
 * @word: for programs; @what: in words
 * @source: whence it is fetched, and @above: where in it the top is
 * @transformers: the folder of the transformers, "" for the top; @transformer_files: 16-bit ones
 *   first; @transformer_names: what they are called in reports
 * @pattern: of a transformer's file that a user may name
 * @mark: (nullable): a file without which it is not this form
 * @vae, @whisper: folders; @vae_config, @whisper_config: (nullable): their own configurations
 * @text: (nullable): what may stand in for the text encoders
 * @detector: the face detector's file
 */
typedef struct
{
  const char *word, *what, *source, *above;
  const char *transformers, *pattern;
  const char *transformer_files[AVATAR_LAYOUT_NAMES], *transformer_names[AVATAR_LAYOUT_NAMES];
  const char *mark;
  const char *vae, *vae_config, *vae_files[AVATAR_LAYOUT_NAMES];
  const char *whisper, *whisper_config, *whisper_files[AVATAR_LAYOUT_NAMES];
  const char *text;
  AvatarLayoutEncoder llava, clip;
  const char *detector;
} AvatarLayoutForm;

/**
 * AvatarLayout: paths, and the configuration as the text of a config.json
 * @top: the folder that is called ckpts in downloads
 * @scales: factors of an 8-bit transformer that are in a file of their own, or %NULL
 * @llava, @clip: the text encoders' weights; these alone need not be there. @vision: a file with LLaVA's
 *   vision tower, which @llava may have itself, or %NULL
 * @text: what stands in for them, or %NULL
 * @llava_config, @clip_config: the texts of their own configurations, or %NULL
 * @detector: the face detector, which may be missing: then %NULL, or, of a survey, where it should be
 */
typedef struct
{
  const AvatarLayoutForm *form;
  char *top;
  char *transformer, *scales, *vae, *whisper, *text, *llava, *vision, *clip, *detector;
  char *config, *llava_config, *clip_config;
} AvatarLayout;

/* Whether @path is such a folder, one above or inside it, or a transformer's file in it. */
gboolean avatar_layout_is_known (const char *path);
/* @path is known. Fails if a part is missing; clear @self in any case. The sizes are the released ones,
 * or those of avatar-config.json beside the transformer; the VAE's and Whisper's own configurations
 * come before both. */
gboolean avatar_layout_find (AvatarLayout *self, const char *path, GError **error);
/* The same of a folder from which anything may be missing, also the transformer: paths are where files
 * are, or where they should be. @form stays %NULL if @path is of no such folder. FALSE only where
 * sizes cannot be read. */
gboolean avatar_layout_survey (AvatarLayout *self, const char *path, GError **error);
void avatar_layout_clear (AvatarLayout *self);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarLayout, avatar_layout_clear)

G_END_DECLS
