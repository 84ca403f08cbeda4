/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Drives a page of a browser by the Chrome DevTools protocol.
 *   browser-client ADDRESS
 * ADDRESS is that of the page's WebSocket. Each line of standard input is a method and an object of
 * parameters; its result is printed as a line of JSON. An error, or an exception of a script, ends
 * the client with status 1. */
#include <json-glib/json-glib.h>
#include <libsoup/soup.h>
#include <string.h>

typedef struct
{
  GMainLoop *loop;
  SoupWebsocketConnection *connection;
  GDataInputStream *input;
  gint64 id;
  gboolean failed;
} Client;

static void
end (Client *client, const char *text)
{
  if (text)
    g_printerr ("browser-client: %s\n", text);
  client->failed |= text != NULL;
  g_main_loop_quit (client->loop);
}

static void
send_next (Client *client)
{
  g_autofree char *line = g_data_input_stream_read_line (client->input, NULL, NULL, NULL);
  g_autofree char *text = NULL;
  const char *params = line ? strchr (line, ' ') : NULL;

  if (!line) {
    end (client, NULL);
    return;
  }
  text = g_strdup_printf ("{\"id\":%" G_GINT64_FORMAT ",\"method\":\"%.*s\",\"params\":%s}",
      ++client->id, (int) strcspn (line, " "), line, params ? params : "{}");
  soup_websocket_connection_send_text (client->connection, text);
}

static void
take_answer (Client *client, JsonObject *answer)
{
  JsonNode *result = json_object_get_member (answer, "result");
  g_autofree char *text
      = json_to_string (result ? result : json_object_get_member (answer, "error"), FALSE);

  g_print ("%s\n", text);
  if (!result || strstr (text, "\"exceptionDetails\""))
    end (client, text);
  else
    send_next (client);
}

static void
on_message (SoupWebsocketConnection *connection, SoupWebsocketDataType type, GBytes *message,
    gpointer data)
{
  Client *client = data;
  gsize n;
  const char *bytes = g_bytes_get_data (message, &n);
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonObject *answer;

  if (!json_parser_load_from_data (parser, bytes, n, NULL)) {
    end (client, "an answer is no JSON");
    return;
  }
  answer = json_node_get_object (json_parser_get_root (parser));
  if (json_object_has_member (answer, "id")
      && json_object_get_int_member (answer, "id") == client->id)
    take_answer (client, answer);
}

static void
on_closed (SoupWebsocketConnection *connection, gpointer data)
{
  end (data, "the browser has closed the connection");
}

static void
on_connected (GObject *source, GAsyncResult *result, gpointer data)
{
  Client *client = data;
  g_autoptr (GError) error = NULL;

  client->connection
      = soup_session_websocket_connect_finish (SOUP_SESSION (source), result, &error);
  if (!client->connection) {
    end (client, error->message);
    return;
  }
  soup_websocket_connection_set_max_incoming_payload_size (client->connection, 64 << 20);
  g_signal_connect (client->connection, "message", G_CALLBACK (on_message), client);
  g_signal_connect (client->connection, "closed", G_CALLBACK (on_closed), client);
  send_next (client);
}

int
main (int argc, char **argv)
{
  Client client = { .loop = g_main_loop_new (NULL, FALSE) };
  g_autoptr (GFile) file = g_file_new_for_path ("/dev/stdin");
  g_autoptr (GInputStream) stream = G_INPUT_STREAM (g_file_read (file, NULL, NULL));
  g_autoptr (SoupSession) session = soup_session_new ();
  g_autoptr (SoupMessage) message = argc == 2 ? soup_message_new ("GET", argv[1]) : NULL;

  if (!message || !stream) {
    g_printerr ("usage: browser-client ADDRESS <COMMANDS\n");
    return 2;
  }
  client.input = g_data_input_stream_new (stream);
  soup_session_websocket_connect_async (session, message, NULL, NULL, G_PRIORITY_DEFAULT, NULL,
      on_connected, &client);
  g_main_loop_run (client.loop);
  if (client.connection)
    g_signal_handlers_disconnect_by_data (client.connection, &client);
  g_clear_object (&client.connection);
  g_object_unref (client.input);
  g_main_loop_unref (client.loop);
  return client.failed;
}
