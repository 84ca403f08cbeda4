/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Presets. A value that is missing keeps the setting; an unknown key is an error, since a preset
 * without it would give another video than its author's. */
#include "engine/denoise/preset.h"

#include "engine/formats/json.h"

#include <math.h>
#include <string.h>

#define MAX_BYTES (64 * 1024)
#define MAX_STEPS 1000
#define MAX_LORAS 64
/* Value of a number that the preset does not have. */
#define UNSET NAN

/* @sigmas: double; @loras: AvatarLoraSetting, which own their paths and schedules; empty: unset
 * @has_cache: @step_cache is set */
struct _AvatarPreset
{
  gint refs;
  double steps, flow_shift, guidance_scale, guidance_border, cache_threshold, cache_steps;
  GArray *sigmas, *loras;
  AvatarStepCacheMode step_cache;
  gboolean has_cache;
};

/* State of the parser. */
typedef struct
{
  AvatarPreset *preset;
  const char *path;
  GError **error;
} Parser;

static gboolean fail (const Parser *parser, const char *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
fail (const Parser *parser, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (parser->error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: %s", parser->path, text);
  return FALSE;
}

/* Returns the number of @node; NaN if it is not a number. */
static double
number_of (JsonNode *node)
{
  GType type = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_value_type (node) : G_TYPE_INVALID;

  return type == G_TYPE_INT64 || type == G_TYPE_DOUBLE ? json_node_get_double (node) : NAN;
}

static const char *
string_of (JsonNode *node)
{
  return JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
      ? json_node_get_string (node)
      : NULL;
}

static gboolean
parse_sigmas (const Parser *parser, JsonNode *node)
{
  JsonArray *array = JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  guint n = array ? json_array_get_length (array) : 0;

  if (n < 1 || n > MAX_STEPS)
    return fail (parser, "\"sigmas\" is not a list of 1 to %u numbers", MAX_STEPS);
  for (guint i = 0; i < n; i++) {
    double sigma = number_of (json_array_get_element (array, i));

    if (!isfinite (sigma))
      return fail (parser, "entry %u of \"sigmas\" is not a number", i + 1);
    g_array_append_val (parser->preset->sigmas, sigma);
  }
  return TRUE;
}

static gboolean
lora_fail (const Parser *parser, guint i)
{
  return fail (parser,
      "entry %u of \"loras\" is not {\"path\": PATH, \"strength\": NUMBER, \"sigmas\": [FROM, TO]}, "
      "in which the strength may be a list with one for each step, and all but the path may be left "
      "out",
      i + 1);
}

/* Reads a list of numbers as strengths for the steps. Returns FALSE if it is none. */
static gboolean
parse_strengths (JsonArray *array, AvatarLoraSchedule *schedule)
{
  guint n = json_array_get_length (array);
  double *strengths;

  if (n < 1 || n > MAX_STEPS)
    return FALSE;
  schedule->strengths = strengths = g_new (double, n);
  schedule->n_strengths = n;
  for (guint i = 0; i < n; i++) {
    strengths[i] = number_of (json_array_get_element (array, i));
    if (!isfinite (strengths[i]))
      return FALSE;
  }
  return TRUE;
}

/* Reads [FROM, TO] as a range of noise levels. Returns FALSE if it is none. */
static gboolean
parse_range (JsonArray *array, AvatarLoraSchedule *schedule)
{
  if (json_array_get_length (array) != 2)
    return FALSE;
  schedule->sigma_from = number_of (json_array_get_element (array, 0));
  schedule->sigma_to = number_of (json_array_get_element (array, 1));
  return schedule->sigma_to >= 0 && schedule->sigma_to <= schedule->sigma_from
      && schedule->sigma_from <= 1;
}

/* Reads the strength of @lora, and its schedule if it has one. Returns FALSE if a key is unknown or
 * has a wrong value. */
static gboolean
parse_strength (JsonObject *object, AvatarLoraSetting *lora)
{
  JsonNode *strength = json_object_get_member (object, "strength");
  JsonNode *sigmas = json_object_get_member (object, "sigmas");
  AvatarLoraSchedule *schedule;

  if (json_object_get_size (object) != 1u + (strength != NULL) + (sigmas != NULL))
    return FALSE;
  lora->strength = 1;
  if (strength && !JSON_NODE_HOLDS_ARRAY (strength)) {
    lora->strength = number_of (strength);
    strength = NULL;
  }
  if (!strength && !sigmas)
    return isfinite (lora->strength);
  if ((strength && sigmas) || (sigmas && !JSON_NODE_HOLDS_ARRAY (sigmas)))
    return FALSE;
  lora->schedule = schedule = g_new0 (AvatarLoraSchedule, 1);
  return isfinite (lora->strength)
      && (strength ? parse_strengths (json_node_get_array (strength), schedule)
                   : parse_range (json_node_get_array (sigmas), schedule));
}

static void
lora_clear (gpointer data)
{
  AvatarLoraSetting *lora = data;

  g_free ((char *) lora->path);
  if (lora->schedule)
    g_free ((double *) lora->schedule->strengths);
  g_free ((AvatarLoraSchedule *) lora->schedule);
}

static gboolean
parse_lora (const Parser *parser, JsonNode *node, guint i)
{
  JsonObject *object = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  JsonNode *path_node = object ? json_object_get_member (object, "path") : NULL;
  const char *path = path_node ? string_of (path_node) : NULL;
  AvatarLoraSetting lora = { 0 };

  if (!path || !*path)
    return lora_fail (parser, i);
  if (!parse_strength (object, &lora)) {
    lora_clear (&lora);
    return lora_fail (parser, i);
  }
  if (g_path_is_absolute (path)) {
    lora.path = g_strdup (path);
  } else {
    g_autofree char *folder = g_path_get_dirname (parser->path);

    lora.path = g_build_filename (folder, path, NULL);
  }
  g_array_append_val (parser->preset->loras, lora);
  return TRUE;
}

static gboolean
parse_loras (const Parser *parser, JsonNode *node)
{
  JsonArray *array = JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  guint n = array ? json_array_get_length (array) : 0;

  if (n < 1 || n > MAX_LORAS)
    return fail (parser, "\"loras\" is not a list of 1 to %u objects", MAX_LORAS);
  for (guint i = 0; i < n; i++)
    if (!parse_lora (parser, json_array_get_element (array, i), i))
      return FALSE;
  return TRUE;
}

static gboolean
parse_cache (const Parser *parser, JsonNode *node)
{
  /* in the order of AvatarStepCacheMode */
  static const char *const names[] = { "none", "upstream", "adaptive", "easy", "forecast" };
  const char *name = string_of (node);

  for (guint i = 0; name && i < G_N_ELEMENTS (names); i++)
    if (strcmp (name, names[i]) == 0) {
      parser->preset->step_cache = i;
      parser->preset->has_cache = TRUE;
      return TRUE;
    }
  return fail (parser,
      "\"step-cache\" is not \"none\", \"upstream\", \"adaptive\", \"easy\" or \"forecast\"");
}

/* Reads a number from @min to @max to @value. */
static gboolean
parse_number (const Parser *parser, const char *key, JsonNode *node, double min, double max,
    double *value)
{
  *value = number_of (node);
  return (*value >= min && *value <= max)
      || fail (parser, "\"%s\" is not a number from %g to %g", key, min, max);
}

/* Reads a number of steps, at least @min. */
static gboolean
parse_steps (const Parser *parser, const char *key, JsonNode *node, double min, double *steps)
{
  return parse_number (parser, key, node, min, MAX_STEPS, steps)
      && (*steps == floor (*steps) || fail (parser, "\"%s\" is not a whole number", key));
}

static gboolean
parse_member (const Parser *parser, const char *key, JsonNode *node)
{
  AvatarPreset *p = parser->preset;

  if (strcmp (key, "description") == 0)
    return string_of (node) != NULL || fail (parser, "\"description\" is not a text");
  if (strcmp (key, "steps") == 0)
    return parse_steps (parser, key, node, 1, &p->steps);
  if (strcmp (key, "flow-shift") == 0)
    return parse_number (parser, key, node, 1e-3, 100, &p->flow_shift);
  if (strcmp (key, "sigmas") == 0)
    return parse_sigmas (parser, node);
  if (strcmp (key, "guidance-scale") == 0)
    return parse_number (parser, key, node, 0, 100, &p->guidance_scale);
  if (strcmp (key, "guidance-border") == 0)
    return parse_number (parser, key, node, 0, 1, &p->guidance_border);
  if (strcmp (key, "step-cache") == 0)
    return parse_cache (parser, node);
  if (strcmp (key, "cache-threshold") == 0)
    return parse_number (parser, key, node, 0, 100, &p->cache_threshold);
  if (strcmp (key, "cache-steps") == 0)
    return parse_steps (parser, key, node, 0, &p->cache_steps);
  if (strcmp (key, "loras") == 0)
    return parse_loras (parser, node);
  return fail (parser,
      "unknown key \"%s\"; expected description, steps, flow-shift, sigmas, guidance-scale, "
      "guidance-border, step-cache, cache-threshold, cache-steps or loras",
      key);
}

static gboolean
check_schedule (const Parser *parser)
{
  const AvatarPreset *p = parser->preset;

  if (p->sigmas->len == 0)
    return TRUE;
  if (!isnan (p->flow_shift))
    return fail (parser, "\"sigmas\" and \"flow-shift\" exclude each other; keep one of them");
  return isnan (p->steps) || p->steps == p->sigmas->len
      || fail (parser, "\"sigmas\" has %u values, but \"steps\" is %g; they must agree",
          p->sigmas->len, p->steps);
}

static AvatarPreset *
preset_new (void)
{
  AvatarPreset *self = g_new0 (AvatarPreset, 1);

  self->refs = 1;
  self->steps = self->flow_shift = self->guidance_scale = UNSET;
  self->guidance_border = self->cache_threshold = self->cache_steps = UNSET;
  self->sigmas = g_array_new (FALSE, FALSE, sizeof (double));
  self->loras = g_array_new (FALSE, FALSE, sizeof (AvatarLoraSetting));
  g_array_set_clear_func (self->loras, lora_clear);
  return self;
}

AvatarPreset *
avatar_preset_parse (const char *data, gsize length, const char *path, GError **error)
{
  g_autoptr (AvatarPreset) self = preset_new ();
  g_autoptr (JsonObject) root = avatar_json_parse (data, length, path, error);
  const Parser parser = { self, path, error };
  JsonObjectIter iter;
  const char *key;
  JsonNode *node;

  if (!root)
    return NULL;
  json_object_iter_init (&iter, root);
  while (json_object_iter_next (&iter, &key, &node))
    if (!parse_member (&parser, key, node))
      return NULL;
  return check_schedule (&parser) ? g_steal_pointer (&self) : NULL;
}

AvatarPreset *
avatar_preset_load (const char *path, GError **error)
{
  gsize length;
  g_autofree char *data = avatar_json_read (path, MAX_BYTES, "a preset", &length, error);

  return data ? avatar_preset_parse (data, length, path, error) : NULL;
}

void
avatar_preset_apply (const AvatarPreset *self, AvatarDenoiseSettings *s)
{
  if (!isnan (self->steps))
    s->steps = self->steps;
  if (!isnan (self->flow_shift))
    s->flow_shift = self->flow_shift;
  if (self->sigmas->len > 0) {
    s->sigmas = (const double *) self->sigmas->data;
    s->steps = s->n_sigmas = self->sigmas->len;
  }
  if (!isnan (self->guidance_scale))
    s->guidance_scale = self->guidance_scale;
  if (!isnan (self->guidance_border))
    s->guidance_border = self->guidance_border;
  if (self->has_cache)
    s->step_cache = self->step_cache;
  if (!isnan (self->cache_threshold))
    s->step_cache_threshold = self->cache_threshold;
  if (!isnan (self->cache_steps))
    s->step_cache_steps = self->cache_steps;
  if (self->loras->len > 0) {
    s->loras = (const AvatarLoraSetting *) self->loras->data;
    s->n_loras = self->loras->len;
  }
}

AvatarPreset *
avatar_preset_ref (AvatarPreset *self)
{
  g_atomic_int_inc (&self->refs);
  return self;
}

void
avatar_preset_unref (AvatarPreset *self)
{
  if (!g_atomic_int_dec_and_test (&self->refs))
    return;
  g_array_unref (self->sigmas);
  g_array_unref (self->loras);
  g_free (self);
}
