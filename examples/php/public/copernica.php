<?php
// Takes the calls that the ingester passes on: checks the signature, keeps the call in a table, and answers at once.
// The work itself is for work.php. 2xx means kept; after 5xx the ingester tries again later; 4xx makes a dead letter.
declare(strict_types=1);
require __DIR__ . '/../calls.php';

function answer(int $status, string $text): never
{
    http_response_code($status);
    header('Content-Type: text/plain');
    exit($text . "\n");
}

if (ini_get('display_errors') && ini_get('enable_post_data_reading')) {
    // A warning about a large body would come before this script, as an answer of 200, and a call could be lost.
    error_log('Set display_errors = Off or enable_post_data_reading = Off for this script.');
    answer(503, 'PHP shows warnings here.');
}
ini_set('display_errors', '0');
$config = require __DIR__ . '/../config.php';
$keys = keys($config['secrets']);
if ($keys === []) {
    error_log('INGEST_FORWARD_SECRET is not set, or not base64: copy it from the ingester.');
    answer(503, 'This script has no secret yet.');
}
if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    header('Allow: POST');
    answer(405, 'Calls are sent with POST.');
}
$body = (string) file_get_contents('php://input');  // once, and raw: that is what was signed
[$id, $time, $signatures] = array_map(
    fn (string $name) => $_SERVER["HTTP_WEBHOOK_$name"] ?? '',
    ['ID', 'TIMESTAMP', 'SIGNATURE'],
);
if (!is_signed($keys, $id, $time, $signatures, $body)) {
    answer(401, 'This call is not signed with our secret, or not now.');
}
try {
    $insert = database($config)->prepare(
        'INSERT INTO copernica_calls (id, content_type, body, taken_at, due_at) VALUES (?, ?, ?, ?, ?)'
    );
    $insert->bindValue(1, $id);  // the same as X-Ingest-Delivery-Id, but signed
    $insert->bindValue(2, $_SERVER['CONTENT_TYPE'] ?? '');
    $insert->bindValue(3, $body, PDO::PARAM_LOB);
    $insert->bindValue(4, time(), PDO::PARAM_INT);
    $insert->bindValue(5, time(), PDO::PARAM_INT);
    $insert->execute();
} catch (PDOException $error) {
    if (!str_starts_with((string) $error->getCode(), '23')) {  // 23…: this id is there already, which is well
        error_log("The call cannot be kept: {$error->getMessage()}");
        answer(503, 'The call cannot be kept now.');
    }
}
http_response_code(204);
