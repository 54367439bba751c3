<?php

namespace App\Http\Controllers;

use App\Jobs\HandleCopernicaCall;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Illuminate\Support\Facades\DB;

/** Keeps a call, puts a job on the queue for it, and answers. */
class CopernicaController
{
    public function __invoke(Request $request): Response
    {
        $id = $request->header('webhook-id');  // the same as X-Ingest-Delivery-Id, but signed
        DB::table('copernica_calls')->insertOrIgnore([
            'id' => $id,
            'content_type' => (string) $request->header('Content-Type'),
            'body' => base64_encode($request->getContent()),
        ]);
        // A call that comes again and is not handled yet gets a job again: the first one may never have been queued.
        if (DB::table('copernica_calls')->where('id', $id)->whereNull('handled_at')->exists()) {
            HandleCopernicaCall::dispatch($id);
        }

        return response()->noContent();
    }
}
