/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-pack: writes a model as one folder of files that load fast, optionally quantised and with
 * LoRAs merged. Any model also runs without packing, which reduces the time of each start. */
#include "engine/denoise/transformer.h"
#include "engine/model/layout.h"
#include "engine/model/lora.h"
#include "tools/pack-file.h"
#include "tools/pack-folder.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *weight_format = NULL, **lora_list = NULL;
static gboolean force = FALSE, quiet = FALSE;
static gint cancelled = 0;

static const GOptionEntry entries[] = {
  { "weight-format", 'w', 0, G_OPTION_ARG_STRING, &weight_format,
      "Format of the transformer's blocks: stored (default), fp8 or int8, as in avatardenoise",
      "FORMAT" },
  { "lora", 'l', 0, G_OPTION_ARG_FILENAME_ARRAY, &lora_list,
      "Merge a LoRA into the transformer, with this strength or 1; may be given more than once",
      "FILE[:STRENGTH]" },
  { "force", 'f', 0, G_OPTION_ARG_NONE, &force, "Replace an existing packed folder", NULL },
  { "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
  G_OPTION_ENTRY_NULL,
};

static void
on_signal (int number)
{
  g_atomic_int_set (&cancelled, 1);
}

/* ------------------------------------------------------------------------------------ arguments */

static gboolean
parse_format (AvatarQuantise *quantise, GError **error)
{
  static const char *const names[] = { "stored", "fp8", "int8" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    if (strcmp (weight_format ? weight_format : names[0], names[i]) == 0) {
      *quantise = (AvatarQuantise) i;
      return TRUE;
    }
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "weight-format is \"%s\"; expected stored, fp8 or int8", weight_format);
  return FALSE;
}

/* Splits "FILE:STRENGTH" at the last colon, if a number follows it. */
static AvatarLoraSetting
parse_lora (char *text)
{
  AvatarLoraSetting lora = { .path = text, .strength = 1 };
  char *colon = strrchr (text, ':'), *end;
  double strength;

  if (!colon || !colon[1])
    return lora;
  strength = g_ascii_strtod (colon + 1, &end);
  if (*end)
    return lora;
  *colon = '\0';
  lora.strength = strength;
  return lora;
}

static void
print_warning (gpointer text, gpointer data)
{
  g_printerr ("avatar-pack: warning: %s\n", (char *) text);
}

/* Opens the LoRAs, and lists them for the metadata as "style.safetensors:0.8, ...". */
static GPtrArray *
open_loras (AvatarModel *model, GString *names, GError **error)
{
  g_autoptr (GArray) settings = g_array_new (FALSE, FALSE, sizeof (AvatarLoraSetting));
  GPtrArray *loras;

  for (guint i = 0; lora_list && lora_list[i]; i++) {
    AvatarLoraSetting lora = parse_lora (lora_list[i]);
    g_autofree char *name = g_path_get_basename (lora.path);

    if (!isfinite (lora.strength)) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "lora is \"%s\" with a strength that is not finite; expected FILE[:STRENGTH]", lora.path);
      return NULL;
    }
    g_string_append_printf (names, "%s%s:%g", i ? ", " : "", name, lora.strength);
    g_array_append_val (settings, lora);
  }
  loras = avatar_lora_open_all ((AvatarLoraSetting *) settings->data, settings->len,
      avatar_model_get_config (model), error);
  for (guint i = 0; loras && i < loras->len; i++)
    g_ptr_array_foreach (avatar_lora_get_warnings (loras->pdata[i]), print_warning, NULL);
  return loras;
}

static char *
make_metadata (AvatarModel *model, const char *loras)
{
  g_autoptr (JsonObject) object = json_object_new ();
  g_autoptr (JsonNode) root = json_node_alloc ();
  g_autofree char *valid = g_utf8_make_valid (loras, -1);

  json_object_set_string_member (object, "format", "avatar-pack 1");
  json_object_set_string_member (object, "source", avatar_model_get_info (model)->hash);
  json_object_set_string_member (object, "weight_format", weight_format ? weight_format : "stored");
  json_object_set_string_member (object, "loras", valid);
  json_node_init_object (root, object);
  return json_to_string (root, FALSE);
}

/* ------------------------------------------------------------------------------------- progress */

typedef struct
{
  gint64 start;
  guint64 total;
  gboolean bar;
} Display;

static void
show (const char *part, guint64 bytes, gpointer data)
{
  Display *display = data;
  double share = display->total ? (double) bytes / display->total : 1;
  double seconds = (g_get_monotonic_time () - display->start) * 1e-6;
  char bar[41];

  if (!display->bar)
    return;
  for (guint i = 0; i < 40; i++)
    bar[i] = i < share * 40 ? '#' : '.';
  bar[40] = '\0';
  g_printerr ("\r[%s] %3.0f %%  %-12s %6.0f s left ", bar, share * 100, part,
      share > 0 ? seconds / share - seconds : 0);
}

/* -------------------------------------------------------------------------------------- writing */

/* Returns the file of a component in the folder, or %NULL. */
static const char *
file_of (AvatarComponentKind part)
{
  switch (part) {
    case AVATAR_COMPONENT_LLAVA:
      return "llava_llama_image/model.safetensors";
    case AVATAR_COMPONENT_CLIP:
      return "text_encoder_2/model.safetensors";
    default:
      return avatar_component_file (part);
  }
}

/* Copies a text encoder's configuration and tokenizer: all files but weights and lists of
 * shards. */
static gboolean
copy_tokenizer (AvatarModel *model, AvatarComponentKind encoder, PackFolder *folder, GError **error)
{
  const char *from = avatar_model_get_text_folder (model, encoder);
  g_autoptr (GDir) dir = from ? g_dir_open (from, 0, NULL) : NULL;
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    gboolean is_config = strcmp (name, "text_config.json") == 0; /* Wan2GP's name */
    g_autofree char *path = g_build_filename (from, name, NULL);
    g_autofree char *to = g_build_filename (encoder == AVATAR_COMPONENT_CLIP ? "text_encoder_2"
                                                                             : "llava_llama_image",
        is_config ? "config.json" : name, NULL);

    if ((g_str_has_suffix (name, ".json") || g_str_has_suffix (name, ".txt"))
        && !g_str_has_suffix (name, ".index.json") && g_file_test (path, G_FILE_TEST_IS_REGULAR)
        && !pack_folder_copy (folder, path, to, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
write_rest (AvatarModel *model, PackFolder *folder, GError **error)
{
  const char *detector = avatar_model_get_detector (model);

  for (guint i = 0; i < 2; i++)
    if (avatar_model_get_component (model, AVATAR_COMPONENT_LLAVA + i, NULL)
        && !copy_tokenizer (model, AVATAR_COMPONENT_LLAVA + i, folder, error))
      return FALSE;
  return (!detector || pack_folder_copy (folder, detector, AVATAR_PLAIN_DETECTOR, error))
      && pack_folder_write (folder, AVATAR_LAYOUT_CONFIG, avatar_model_get_config_json (model),
          error);
}

static gboolean
write_components (Pack *pack, PackFolder *folder, GError **error)
{
  GArray *lists[AVATAR_N_COMPONENTS] = { NULL };
  Display *display = pack->data;
  gboolean done = TRUE;

  /* All components are listed first, so that the total is known. */
  for (guint i = 0; done && i < AVATAR_N_COMPONENTS; i++)
    if (avatar_model_get_component (pack->model, i, NULL)) {
      lists[i] = pack_list (pack, i, error);
      done = lists[i] != NULL;
    }
  display->total = pack->total;
  for (guint i = 0; done && i < AVATAR_N_COMPONENTS; i++) {
    g_autofree char *path = lists[i] ? pack_folder_path (folder, file_of (i), error) : NULL;

    if (lists[i])
      done = path && pack_write (pack, i, lists[i], path, error);
  }
  for (guint i = 0; i < AVATAR_N_COMPONENTS; i++)
    g_clear_pointer (&lists[i], g_array_unref);
  if (display->bar)
    g_printerr ("\n");
  return done;
}

/* Refuses to write into the folder from which the model is read. */
static gboolean
check_target (AvatarModel *model, const char *path, GError **error)
{
  g_autofree char *target = g_canonicalize_filename (path, NULL);

  for (guint i = 0; i < AVATAR_N_COMPONENTS; i++) {
    const char *file = NULL;
    g_autofree char *full = NULL;

    avatar_model_get_component (model, i, &file);
    full = file ? g_canonicalize_filename (file, NULL) : NULL;
    if (full && g_str_has_prefix (full, target) && full[strlen (target)] == '/') {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "%s: the model is read from this folder; choose another for the packed one", path);
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
pack_model (AvatarModel *model, const char *path, GError **error)
{
  g_autoptr (GString) names = g_string_new (NULL);
  g_autoptr (GPtrArray) loras = open_loras (model, names, error);
  g_autofree char *metadata = make_metadata (model, names->str);
  Display display = { .start = g_get_monotonic_time (), .bar = !quiet && isatty (STDERR_FILENO) };
  Pack pack = { .model = model,
    .loras = loras,
    .metadata = metadata,
    .cancelled = &cancelled,
    .progress = show,
    .data = &display };
  PackFolder folder = { 0 };

  if (!loras || !parse_format (&pack.quantise, error) || !check_target (model, path, error)
      || !pack_folder_open (&folder, path, force ? PACK_REPLACE_PACKED : PACK_REPLACE_NEVER, error))
    return FALSE;
  if (!write_components (&pack, &folder, error) || !write_rest (model, &folder, error)) {
    pack_folder_discard (&folder);
    return FALSE;
  }
  if (!pack_folder_close (&folder, error))
    return FALSE;
  if (!quiet)
    g_print ("%s: %.1f MiB in %.1f s\n", path, pack.total / 1048576.,
        (g_get_monotonic_time () - display.start) * 1e-6);
  return TRUE;
}

static gboolean
run (int argc, char **argv, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("MODEL FOLDER");
  g_autoptr (AvatarModel) model = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context,
      "Writes MODEL, of any layout, to FOLDER: one file for each component, with aligned tensors in\n"
      "the order of use. FOLDER is a model itself and gives the same video.");
  if (!g_option_context_parse (context, &argc, &argv, error))
    return FALSE;
  if (argc != 3) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found %d arguments, expected a model and a folder to write; see --help", argc - 1);
    return FALSE;
  }
  model = avatar_model_open (argv[1], error);
  if (!model)
    return FALSE;
  if (!avatar_model_has_weights (model)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "\"%s\" has built-in sizes only; expected the folder of a model with weights", argv[1]);
    return FALSE;
  }
  return pack_model (model, argv[2], error);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  const struct sigaction action = { .sa_handler = on_signal };

  sigaction (SIGINT, &action, NULL);
  sigaction (SIGTERM, &action, NULL);
  sigaction (SIGHUP, &action, NULL);
  signal (SIGXFSZ, SIG_IGN); /* a write error reports it */
  if (run (argc, argv, &error))
    return EXIT_SUCCESS;
  g_printerr ("avatar-pack: %s\n", error->message);
  return EXIT_FAILURE;
}
