<?php
// Hands each call that is due to handle(). From cron, every minute: php /path/to/work.php
declare(strict_types=1);
require __DIR__ . '/calls.php';
require __DIR__ . '/handle.php';

/** Seconds for which it works; then cron starts the next. */
const SECONDS = 55;
/** Attempts for each call, with growing pauses of at most an hour. */
const ATTEMPTS = 10;
/** Seconds for which a call that is done is kept, so that it is known if it comes again. */
const KEEP = 30 * 86400;

$lock = fopen(__DIR__ . '/work.lock', 'c');
if ($lock === false || !flock($lock, LOCK_EX | LOCK_NB)) {
    exit(0);  // the one before still works
}
$calls = database(require __DIR__ . '/config.php');
$next = $calls->prepare(
    'SELECT id, content_type, body, attempts FROM copernica_calls WHERE done_at IS NULL AND due_at <= ?'
    . ' AND attempts < ' . ATTEMPTS . ' ORDER BY id LIMIT 1'  // an id begins with the time of the call
);
// Counted before the attempt: a call that ends PHP itself must not be the next one again.
$claim = $calls->prepare('UPDATE copernica_calls SET attempts = attempts + 1, due_at = ? WHERE id = ?');
$done = $calls->prepare('UPDATE copernica_calls SET done_at = ?, error = NULL WHERE id = ?');
$failed = $calls->prepare('UPDATE copernica_calls SET error = ? WHERE id = ?');

$until = time() + SECONDS;
while (time() < $until) {
    $next->execute([time()]);
    $call = $next->fetch(PDO::FETCH_ASSOC);
    $next->closeCursor();
    if ($call === false) {
        break;
    }
    $claim->execute([time() + min(3600, 60 * 2 ** $call['attempts']), $call['id']]);
    try {
        handle($call['id'], event($call['content_type'], $call['body']));
        $done->execute([time(), $call['id']]);
    } catch (Throwable $error) {
        error_log("{$call['id']}: {$error->getMessage()}");
        $failed->execute([preg_replace('/[^ -~]/', '?', substr($error->getMessage(), 0, 1000)), $call['id']]);
    }
}
$calls->prepare('DELETE FROM copernica_calls WHERE done_at < ?')->execute([time() - KEEP]);
