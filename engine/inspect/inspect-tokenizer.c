/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tokenizers are loaded as for a run, and encode an empty prompt. */
#include "engine/inspect/inspect-tokenizer.h"

#include "engine/text/tokenizer.h"
#include "engine/inspect/inspect-file.h"

#include <string.h>

static AvatarTokenizer *
read_llama (const char *folder, const AvatarTextConfig *config, GError **error)
{
  g_autoptr (AvatarTokenizer) self = avatar_tokenizer_new_llama (folder, error);
  g_auto (AvatarLlavaTokens) tokens = { 0 };

  if (!self)
    return NULL;
  if (config && config->kind == AVATAR_TEXT_LLAVA_CLIP
      && !avatar_tokens_llava (self, config, "", AVATAR_PROMPT_POSITIVE, &tokens, error))
    return NULL;
  return g_steal_pointer (&self);
}

static void
inspect_tokenizer (AvatarInspectedComponent *component, const AvatarTextConfig *config)
{
  gboolean is_clip = strcmp (component->name, AVATAR_INSPECT_CLIP) == 0;
  g_autofree char *folder = g_path_get_dirname (component->path);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTokenizer) tokenizer
      = is_clip ? avatar_tokenizer_new_clip (folder, &error) : read_llama (folder, config, &error);
  g_autofree char *note = g_steal_pointer (&component->note);

  if (tokenizer)
    component->note = g_strdup_printf ("its tokenizer has %u ids and %u merges%s%s",
        avatar_tokenizer_get_n_ids (tokenizer), avatar_bpe_n_merges (tokenizer->bpe),
        note ? "; " : "", note ? note : "");
  else
    component->note = g_steal_pointer (&note);
  if (error && error->code != AVATAR_ERROR_NOT_FOUND)
    avatar_inspected_component_fail (component, AVATAR_INSPECT_UNUSABLE, "%s", error->message);
}

void
avatar_inspect_tokenizers (AvatarInspection *inspection)
{
  if (inspection->kind != AVATAR_INSPECTED_DOWNLOAD)
    return;
  for (guint i = 0; i < inspection->components->len; i++) {
    AvatarInspectedComponent *component = inspection->components->pdata[i];

    if (strcmp (component->name, AVATAR_INSPECT_LLAVA) == 0
        || strcmp (component->name, AVATAR_INSPECT_CLIP) == 0)
      inspect_tokenizer (component, inspection->config ? &inspection->config->text : NULL);
  }
}
