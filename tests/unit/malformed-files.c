/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Malicious files for every reader. Each must succeed or fail within about a second of work and
 * within 64 MiB of additional address space; if that is exceeded, GLib aborts the test. */
#include "engine/text/tokenizer.h"
#include "engine/formats/tensor-file.h"
#include "engine/inspect/inspect.h"
#include "engine/denoise/noise-file.h"
#include "engine/model/component.h"
#include "engine/model/lora.h"
#include "engine/model/config-released.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROOM ((rlim_t) 64 << 20)
#ifdef __SANITIZE_ADDRESS__
/* ASan's shadow is larger. */
#define LIMITS_MEMORY FALSE
#else
#define LIMITS_MEMORY TRUE
#endif
/* Limit of a reader's processor time, as the time of a SHA-256 of so many MiB in the same run,
 * which makes it independent of the machine. Sanitizers add checks of every access and stacks of
 * every allocation. */
#ifdef __SANITIZE_ADDRESS__
#define WORK_MIB 3000
#else
#define WORK_MIB 300
#endif
/* Seconds after which a reader counts as hanging, as on a FIFO. */
#define WATCHDOG 600

/* Returns FALSE with @error set if the file is refused. */
typedef gboolean (*OpenFunc) (const char *path, GError **error);

static char *folder; /* scratch folder */

/* -------------------------------------------------------------------------------------- readers */

static gboolean
open_weights (const char *path, GError **error)
{
  g_autoptr (AvatarTensorFile) file = avatar_tensor_file_open (path, error);

  return file != NULL;
}

static gboolean
open_lora (const char *path, GError **error)
{
  static AvatarConfig *config;
  AvatarLora *lora;

  if (!config)
    config = avatar_config_released ();
  lora = avatar_lora_open (path, config, 1, error);
  if (lora)
    avatar_lora_free (lora);
  return lora != NULL;
}

/* The speech encoder of a very small model. */
static gboolean
open_component (const char *path, GError **error)
{
  g_autoptr (AvatarConfig) config = avatar_config_released ();
  AvatarComponent component = { 0 };
  gboolean taken;

  config->whisper = (AvatarWhisperConfig){ 2, 4, 1, 1, 8, 3 };
  taken = avatar_component_open (&component, AVATAR_COMPONENT_WHISPER, path, NULL, config,
      AVATAR_UNKNOWN_TENSORS_SKIP, error);
  avatar_component_clear (&component);
  return taken;
}

static gboolean
open_noise (const char *path, GError **error)
{
  static const gint64 shape[4] = { 1, 1, 1, 1 };
  AvatarNoiseFile noise = { 0 };
  gboolean taken = avatar_noise_file_load (&noise, path, "noise", shape, error);

  avatar_noise_file_clear (&noise);
  return taken;
}

static gboolean
open_picture (const char *path, GError **error)
{
  g_autoptr (AvatarImage) image = avatar_image_load (path, error);

  return image != NULL;
}

/* @path is the file of @name in a folder that has the others. */
static gboolean
open_llama (const char *path, GError **error)
{
  g_autofree char *where = g_path_get_dirname (path);
  g_autoptr (AvatarTokenizer) tokenizer = avatar_tokenizer_new_llama (where, error);

  return tokenizer != NULL;
}

static gboolean
open_clip (const char *path, GError **error)
{
  g_autofree char *where = g_path_get_dirname (path);
  g_autoptr (AvatarTokenizer) tokenizer = avatar_tokenizer_new_clip (where, error);

  return tokenizer != NULL;
}

static gboolean
open_model (const char *path, GError **error)
{
  g_autofree char *where = g_path_get_dirname (path);
  g_autoptr (AvatarModel) model = avatar_model_open (where, error);

  return model != NULL;
}

static gboolean
open_inspection (const char *path, GError **error)
{
  g_autoptr (AvatarInspection) inspection = avatar_inspect (path, NULL, NULL, error);

  return inspection != NULL;
}

/* A reader, the name of its files, and a valid file. @beside: other files that it needs in the
 * folder. @strict: every truncation of the valid file is an error; other formats may end in
 * padding or in the middle of a picture. */
static const struct
{
  const char *reader, *name, *good, *beside[2];
  OpenFunc open;
  gboolean strict;
} readers[] = {
  { "safetensors", "x.safetensors", CORPUS_DIR "/safetensors/two.safetensors", { NULL },
      open_weights, TRUE },
  { "shards", "x.safetensors.index.json", NULL, { NULL }, open_weights, TRUE },
  { "torch", "x.pt", CORPUS_DIR "/torch/state_dict.pt", { NULL }, open_weights, TRUE },
  { "torch-legacy", "x.pt", CORPUS_DIR "/torch/legacy.pt", { NULL }, open_weights, TRUE },
  { "torch-script", "x.pt", CORPUS_DIR "/torch/script.pt", { NULL }, open_weights, TRUE },
  { "gguf", "x.gguf", CORPUS_DIR "/gguf/mmproj.gguf", { NULL }, open_weights, FALSE },
  { "lora", "x.safetensors", CORPUS_DIR "/lora/kohya", { NULL }, open_lora, TRUE },
  { "llama", "tokenizer.json", CORPUS_DIR "/tokenizer/strings.json", { NULL }, open_llama, TRUE },
  { "vocab", "vocab.json", GOLDEN_DIR "/text/clip/vocab.json",
      { GOLDEN_DIR "/text/clip/merges.txt" }, open_clip, TRUE },
  { "merges", "merges.txt", GOLDEN_DIR "/text/clip/merges.txt",
      { GOLDEN_DIR "/text/clip/vocab.json" }, open_clip, FALSE },
  { "model", "config.json", NULL, { NULL }, open_model, TRUE },
  { "inspect", "x.safetensors", CORPUS_DIR "/safetensors/two.safetensors", { NULL },
      open_inspection, TRUE },
  { "png", "x.png", CORPUS_DIR "/image/small.png", { NULL }, open_picture, TRUE },
  { "jpeg", "x.jpg", CORPUS_DIR "/image/small.jpg", { NULL }, open_picture, TRUE },
  { "jpeg-progressive", "x.jpg", CORPUS_DIR "/image/progressive.jpg", { NULL }, open_picture,
      TRUE },
};

/* --------------------------------------------------------------------------------------- limits */

static void
limit (rlim_t room)
{
#ifndef __SANITIZE_ADDRESS__
  g_autofree char *text = NULL;
  struct rlimit r;

  g_assert_true (g_file_get_contents ("/proc/self/statm", &text, NULL, NULL));
  g_assert_cmpint (getrlimit (RLIMIT_AS, &r), ==, 0);
  r.rlim_cur = room ? g_ascii_strtoull (text, NULL, 10) * getpagesize () + room : r.rlim_max;
  g_assert_cmpint (setrlimit (RLIMIT_AS, &r), ==, 0);
#endif
}

/* Returns a reader's limit in seconds of processor time. */
static double
measure_work (void)
{
  g_autofree guchar *bytes = g_malloc0 (1 << 20);
  g_autoptr (GChecksum) checksum = g_checksum_new (G_CHECKSUM_SHA256);
  clock_t begin = clock ();

  for (guint i = 0; i < 16; i++)
    g_checksum_update (checksum, bytes, 1 << 20);
  g_checksum_get_string (checksum);
  return (double) (clock () - begin) / CLOCKS_PER_SEC * WORK_MIB / 16;
}

/* Asserts that @seconds of processor time are within the limit. */
static void
check_work (const char *path, double seconds)
{
  static double allowed;

  if (allowed == 0)
    allowed = measure_work ();
  if (seconds > allowed) /* the machine may be busier than before */
    allowed = MAX (allowed, measure_work ());
  if (seconds > allowed)
    g_error ("%s: %.2f s, expected at most %.2f s, as the SHA-256 of %u MiB takes", path, seconds,
        allowed, WORK_MIB);
}

/* Opens @path within the limits. @refused: it must be an error. */
static void
try (OpenFunc open, const char *path, gboolean refused)
{
  g_autoptr (GError) error = NULL;
  clock_t begin;
  gboolean taken;

  limit (ROOM);
  alarm (WATCHDOG);
  begin = clock ();
  taken = open (path, &error);
  check_work (path, (double) (clock () - begin) / CLOCKS_PER_SEC);
  alarm (0);
  limit (0);
  if (taken == !!error || (taken && refused))
    g_error ("%s: %s", path, taken ? "this was taken" : "there is no error");
  if (error && (error->domain != AVATAR_ERROR || !error->message[0]))
    g_error ("%s: an error of another kind: %s", path, error->message);
}

static void
try_bytes (OpenFunc open, const char *name, const void *data, gsize n, gboolean refused)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);

  g_assert_true (g_file_set_contents (path, data, n, NULL));
  try (open, path, refused);
  g_remove (path);
}

static void
empty_folder (void)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir))) {
    g_autofree char *path = g_build_filename (folder, name, NULL);

    g_remove (path);
  }
}

static void
put_beside (guint i)
{
  for (guint j = 0; j < G_N_ELEMENTS (readers[i].beside) && readers[i].beside[j]; j++) {
    g_autofree char *name = g_path_get_basename (readers[i].beside[j]);
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_autofree char *text = NULL;
    gsize n;

    g_assert_true (g_file_get_contents (readers[i].beside[j], &text, &n, NULL));
    g_assert_true (g_file_set_contents (path, text, n, NULL));
  }
}

/* ---------------------------------------------------------------------------------- all readers */

/* Pipes, devices, folders and dangling links: no reader blocks or reads without end. */
static void
test_no_files (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (readers); i++) {
    static const char *const targets[] = { "/dev/zero", "/dev/full", "/dev/tty", "pipe", ".", "x" };
    g_autofree char *path = g_build_filename (folder, readers[i].name, NULL);
    g_autofree char *pipe = g_build_filename (folder, "pipe", NULL);

    put_beside (i);
    g_assert_cmpint (mkfifo (pipe, 0600), ==, 0);
    for (guint j = 0; j < G_N_ELEMENTS (targets); j++) {
      const char *to = strcmp (targets[j], "x") == 0 ? readers[i].name : targets[j];

      g_assert_cmpint (symlink (to, path), ==, 0);
      /* avatar_inspect() is for folders, too */
      try (readers[i].open, path, readers[i].open != open_inspection || *to != '.');
      g_remove (path);
    }
    g_assert_cmpint (mkfifo (path, 0600), ==, 0);
    try (readers[i].open, path, TRUE);
    empty_folder ();
  }
}

/* Cut short within every kind of header. */
static void
test_truncated (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (readers); i++) {
    g_autofree char *text = NULL;
    gsize n, step;

    if (!readers[i].good)
      continue;
    put_beside (i);
    g_assert_true (g_file_get_contents (readers[i].good, &text, &n, NULL));
    while (readers[i].strict && n > 0 && g_ascii_isspace (text[n - 1])
        && g_str_has_suffix (readers[i].name, ".json"))
      n--; /* may be missing */
    try_bytes (readers[i].open, readers[i].name, text, n, FALSE);
    step = MAX (1, n / 300);
    for (gsize m = 0; m < n; m += m < 300 ? 1 : step)
      try_bytes (readers[i].open, readers[i].name, text, m, readers[i].strict);
    empty_folder ();
  }
}

/* The corpora of the fuzz targets. */
static void
test_corpora (void)
{
  static const struct
  {
    const char *folder, *name;
    OpenFunc open;
  } corpora[]
      = { { "safetensors", "x.safetensors", open_weights }, { "torch", "x.pt", open_weights },
          { "gguf", "x.gguf", open_weights }, { "noise-file", "x.pt", open_weights },
          { "detector", "x.pt", open_weights }, { "shards", "x.index.json", open_weights },
          { "lora", "x.safetensors", open_lora }, { "tokenizer", "tokenizer.json", open_llama },
          { "config", "config.json", open_model }, { "image", "x.png", open_picture } };

  for (guint i = 0; i < G_N_ELEMENTS (corpora); i++) {
    g_autofree char *where = g_build_filename (CORPUS_DIR, corpora[i].folder, NULL);
    g_autoptr (GDir) dir = g_dir_open (where, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name (dir))) {
      g_autofree char *path = g_build_filename (where, name, NULL), *text = NULL;
      gsize n;

      g_assert_true (g_file_get_contents (path, &text, &n, NULL));
      try_bytes (corpora[i].open, corpora[i].name, text, n, FALSE);
    }
  }
}

/* A million brackets, in every file that is JSON, or has some. */
static void
test_recursion (void)
{
  static const char *const opening[] = { "[", "{\"a\":" };

  for (guint i = 0; i < G_N_ELEMENTS (readers); i++)
    for (guint j = 0; j < G_N_ELEMENTS (opening); j++) {
      g_autoptr (GByteArray) out = g_byte_array_new ();
      guint64 n;

      if (!g_str_has_suffix (readers[i].name, ".json")
          && !g_str_has_suffix (readers[i].name, ".safetensors"))
        continue;
      put_beside (i);
      if (g_str_has_suffix (readers[i].name, ".safetensors"))
        g_byte_array_append (out, (const guint8 *) &(guint64){ 0 }, 8);
      g_byte_array_append (out, (const guint8 *) "{\"x\":", 5);
      for (guint k = 0; k < 1000000; k++)
        g_byte_array_append (out, (const guint8 *) opening[j], strlen (opening[j]));
      n = GUINT64_TO_LE (out->len - 8);
      if (g_str_has_suffix (readers[i].name, ".safetensors"))
        memcpy (out->data, &n, 8);
      try_bytes (readers[i].open, readers[i].name, out->data, out->len, TRUE);
      empty_folder ();
    }
}

/* ----------------------------------------------------------------------------------- tokenizers */

/* Names with equal g_str_hash(), since "Aa" and "B@" collide: a GHashTable with it would take
 * quadratic time. */
static void
test_colliding_names (void)
{
  g_autofree char *good = NULL;
  g_autoptr (GString) names = g_string_new ("\"vocab\":{"), text = NULL;

  g_assert_true (g_file_get_contents (CORPUS_DIR "/tokenizer/strings.json", &good, NULL, NULL));
  for (guint i = 0; i < 1 << 17; i++) {
    g_string_append_c (names, '"');
    for (guint bit = 0; bit < 17; bit++)
      g_string_append (names, i >> bit & 1 ? "Aa" : "B@");
    g_string_append (names, "\":7,");
  }
  text = g_string_new (good);
  g_assert_cmpuint (g_string_replace (text, "\"vocab\":{", names->str, 1), ==, 1);
  try_bytes (open_llama, "tokenizer.json", text->str, text->len, FALSE);
}

/* ---------------------------------------------------------------------------------- safetensors */

static void
test_tables (void)
{
#define T(dtype, shape, from, to) \
  "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" from "," to "]}"
  static const char *const tables[] = {
    "{\"a\":" T ("F32", "4", "0", "16") ",\"b\":" T ("F32", "4", "8", "24") "}",
    "{\"a\":" T ("F32", "8", "0", "32") ",\"b\":" T ("F32", "8", "0", "32") "}",
    "{\"a\":" T ("F32", "9223372036854775808", "0", "16") "}",
    "{\"a\":" T ("F32", "9223372036854775807", "0", "16") "}",
    "{\"a\":" T ("F32", "4611686018427387904,4", "0", "16") "}",
    "{\"a\":" T ("F32", "4611686018427387908", "0", "16") "}",
    "{\"a\":" T ("F32", "4294967296,4294967296", "0", "0") "}",
    "{\"a\":" T ("F32", "0,9223372036854775807,9223372036854775807", "0", "0") "}",
    "{\"a\":" T ("F32", "-4", "0", "16") "}",
    "{\"a\":" T ("F32", "4", "16", "0") "}",
    "{\"a\":" T ("F32", "4", "0", "18446744073709551615") "}",
    "{\"a\":" T ("F32", "4", "18446744073709551600", "18446744073709551616") "}",
    "{\"a\":" T ("F32", "4", "48", "64") "}",
    "{\"a\":" T ("F32", "1e300", "0", "16") "}",
  };
  static const guint64 lengths[] = { G_MAXUINT64, (guint64) 1 << 63, G_MAXINT64, 1 << 30, 100 };

  for (guint i = 0; i < G_N_ELEMENTS (tables); i++) {
    g_autoptr (GByteArray) out = g_byte_array_new ();
    guint64 n = GUINT64_TO_LE (strlen (tables[i]));
    guint8 data[32] = { 0 };

    g_byte_array_append (out, (guint8 *) &n, 8);
    g_byte_array_append (out, (const guint8 *) tables[i], strlen (tables[i]));
    g_byte_array_append (out, data, sizeof data);
    try_bytes (open_weights, "x.safetensors", out->data, out->len, TRUE);
  }
  for (guint i = 0; i < G_N_ELEMENTS (lengths); i++) {
    guint8 file[24] = { 0 };
    guint64 n = GUINT64_TO_LE (lengths[i]);

    memcpy (file, &n, 8);
    memset (file + 8, '{', 16);
    try_bytes (open_weights, "x.safetensors", file, sizeof file, TRUE);
  }
}

/* Writes @table and @n bytes of zeros, which take no space on the disk. */
static void
write_sparse (const char *path, const char *table, guint64 n)
{
  guint64 length = GUINT64_TO_LE (strlen (table));
  FILE *file = g_fopen (path, "wb");

  g_assert_nonnull (file);
  g_assert_cmpuint (fwrite (&length, 1, 8, file), ==, 8);
  g_assert_cmpuint (fwrite (table, 1, strlen (table), file), ==, strlen (table));
  g_assert_cmpint (fclose (file), ==, 0);
  g_assert_cmpint (truncate (path, 8 + strlen (table) + n), ==, 0);
}

/* Tensors that are within the limit as float16, and above it as float32: scale factors of a tensor
 * that needs none, and noise. */
static void
test_many_values (void)
{
  g_autofree char *path = g_build_filename (folder, "x.safetensors", NULL);

  write_sparse (path,
      "{\"conv1.weight\":" T ("F32", "4,2,3", "0", "96") ",\"conv1.weight_scale\":" T ("F16",
          "25165824", "96", "50331744") "}",
      50331744);
  try (open_component, path, TRUE);
  write_sparse (path, "{\"tensor\":" T ("F16", "1,25165824,1,1", "0", "50331648") "}", 50331648);
  try (open_noise, path, LIMITS_MEMORY);
  g_remove (path);
}

/* ------------------------------------------------------------------------------- zip and pickle */

/* Wrong sizes and offsets in the central directory, one field at a time. */
static void
test_zip_lies (void)
{
  static const guint fields[] = { 20, 24, 42 }; /* compressed, uncompressed, where */
  static const guint32 lies[] = { 0xfffffffe, 0x7fffffff, 0xffffffff };
  g_autofree char *text = NULL;
  guint entries = 0, records = 0;
  gsize n;

  g_assert_true (g_file_get_contents (CORPUS_DIR "/torch/state_dict.pt", &text, &n, NULL));
  for (gsize at = 0; at + 46 <= n; at++) {
    if (memcmp (text + at, "PK\1\2", 4) != 0)
      continue;
    entries++;
    for (guint i = 0; i < G_N_ELEMENTS (fields) * G_N_ELEMENTS (lies); i++) {
      g_autofree char *copy = g_memdup2 (text, n);
      guint32 lie = GUINT32_TO_LE (lies[i % G_N_ELEMENTS (lies)]);

      memcpy (copy + at + fields[i / G_N_ELEMENTS (lies)], &lie, 4);
      try_bytes (open_weights, "x.pt", copy, n, TRUE);
    }
  }
  g_assert_cmpuint (entries, >, 3);
  /* the same in the ZIP64 record: number of entries, size and offset of the directory */
  for (gsize at = 0; at + 56 <= n; at++)
    for (guint i = 32; memcmp (text + at, "PK\6\6", 4) == 0 && i < 56; i++) {
      g_autofree char *copy = g_memdup2 (text, n);

      copy[at + i] = (char) 0xfe;
      try_bytes (open_weights, "x.pt", copy, n, TRUE);
      records++;
    }
  g_assert_cmpuint (records, ==, 24);
}

static void
put_u16 (GByteArray *out, guint16 value)
{
  value = GUINT16_TO_LE (value);
  g_byte_array_append (out, (guint8 *) &value, 2);
}

static void
put_u32 (GByteArray *out, guint32 value)
{
  value = GUINT32_TO_LE (value);
  g_byte_array_append (out, (guint8 *) &value, 4);
}

/* "a/data.pkl", stored, in an archive of its own. */
static GByteArray *
wrap (const GByteArray *pickle)
{
  static const char name[] = "a/data.pkl";
  GByteArray *out = g_byte_array_new ();
  guint32 directory;

  for (guint central = 0; central < 2; central++) {
    directory = out->len;
    g_byte_array_append (out, (const guint8 *) (central ? "PK\1\2\24\0" : "PK\3\4"),
        central ? 6 : 4);
    put_u16 (out, 20);
    for (guint i = 0; i < 4; i++) /* flags, stored, time, date */
      put_u16 (out, 0);
    put_u32 (out, 0);
    put_u32 (out, pickle->len);
    put_u32 (out, pickle->len);
    put_u16 (out, strlen (name));
    put_u16 (out, 0);
    for (guint i = 0; central && i < 7; i++) /* comment, disk, attributes, where */
      put_u16 (out, 0);
    g_byte_array_append (out, (const guint8 *) name, strlen (name));
    if (!central)
      g_byte_array_append (out, pickle->data, pickle->len);
  }
  g_byte_array_append (out, (const guint8 *) "PK\5\6\0\0\0\0\1\0\1\0", 12);
  put_u32 (out, out->len - 12 - directory);
  put_u32 (out, directory);
  put_u16 (out, 0);
  return out;
}

/* @head, @n times @body, @tail */
static void
try_pickle (const char *head, const char *body, gsize body_length, gsize n, const char *tail,
    gboolean refused)
{
  g_autoptr (GByteArray) pickle = g_byte_array_new (), whole = NULL;

  g_byte_array_append (pickle, (const guint8 *) head, strlen (head));
  for (gsize i = 0; i < n; i++)
    g_byte_array_append (pickle, (const guint8 *) body, body_length);
  g_byte_array_append (pickle, (const guint8 *) tail, strlen (tail));
  whole = wrap (pickle);
  try_bytes (open_weights, "x.pt", whole->data, whole->len, refused);
}

static void
test_pickle_bombs (void)
{
  g_autoptr (GError) error = NULL;

  /* valid: an empty dict */
  try_pickle ("\x80\2", "", 0, 0, "}.", FALSE);
  /* a value of 2^200000 leaves: nested pairs of the previous value */
  try_pickle ("\x80\2]q\1", "h\1h\1\x86q\1", 7, 200000, "0}.", FALSE);
  /* lists in lists, a million deep; marks, dicts and texts without end */
  try_pickle ("\x80\2", "]", 1, 1000000, "}.", FALSE);
  try_pickle ("\x80\2]", "](", 2, 500000, ".", TRUE);
  try_pickle ("\x80\2", "(", 1, 1000000, "}.", TRUE);
  try_pickle ("\x80\2", "}", 1, 1000000, ".", FALSE);
  /* excessive lengths: BINUNICODE8, BINUNICODE, LONG4, BINBYTES8, FRAME */
  try_pickle ("\x80\4\x8d", "\xff", 1, 8, "}.", TRUE);
  try_pickle ("\x80\4\x8d", "\x7f", 1, 8, "}.", TRUE);
  try_pickle ("\x80\4X", "\xff", 1, 4, "}.", TRUE);
  try_pickle ("\x80\4\x8b", "\x7f", 1, 4, "}.", TRUE);
  try_pickle ("\x80\4\x8e", "\x7f", 1, 8, "}.", TRUE);
  try_pickle ("\x80\4\x95", "\x7f", 1, 8, "}.", FALSE);
  /* memo indices that would take 16 GiB */
  try_pickle ("\x80\2]r", "\xff", 1, 4, "}.", TRUE);
  try_pickle ("\x80\2j", "\xff", 1, 4, "}.", TRUE);
  /* no function that a pickle names is called */
  try_pickle ("cos\nsystem\n(", "X\4\0\0\0exit", 9, 1, "tR.", TRUE);
  try_pickle ("c__builtin__\neval\n(", "X\4\0\0\0exit", 9, 1, "tR.", TRUE);
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_test_add_func ("/malformed-files/no-files", test_no_files);
  g_test_add_func ("/malformed-files/truncated", test_truncated);
  g_test_add_func ("/malformed-files/corpora", test_corpora);
  g_test_add_func ("/malformed-files/recursion", test_recursion);
  g_test_add_func ("/malformed-files/colliding-names", test_colliding_names);
  g_test_add_func ("/malformed-files/tables", test_tables);
  g_test_add_func ("/malformed-files/many-values", test_many_values);
  g_test_add_func ("/malformed-files/zip-lies", test_zip_lies);
  g_test_add_func ("/malformed-files/pickle-bombs", test_pickle_bombs);
  status = g_test_run ();
  empty_folder ();
  g_rmdir (folder);
  g_free (folder);
  return status;
}
