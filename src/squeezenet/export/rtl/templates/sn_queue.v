// First in, first out, DEPTH elements in block RAM, and 16 more in an sn_fifo behind it.
module sn_queue #(
    parameter W = 8,
    parameter DEPTH = 64
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [W-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [W-1:0] out_data
);
    localparam AB = DEPTH > 1 ? $clog2(DEPTH) : 1;
    localparam [31:0] MOST = DEPTH;
    wire [AB-1:0] tail, head;
    reg [AB:0] used;  // written and not yet read
    reg [4:0] room;  // free places of the fifo, without those of the reads that are on the way
    wire push = in_valid && in_ready;
    wire read = used != 0 && room != 0;
    wire pop = out_valid && out_ready;
    assign in_ready = used != MOST[AB:0];
    /* verilator lint_off UNUSED */
    wire unused_tail, unused_head;
    /* verilator lint_on UNUSED */
    sn_count #(.N(DEPTH)) count_tail (.clk(clk), .rst(rst), .step(push), .value(tail), .last(unused_tail));
    sn_count #(.N(DEPTH)) count_head (.clk(clk), .rst(rst), .step(read), .value(head), .last(unused_head));
    wire [W-1:0] found;
    sn_ram #(.W(W), .DEPTH(DEPTH)) ram (
        .clk(clk), .write(push), .write_at(tail), .in(in_data), .enable(1'b1), .read_at(head), .out(found));
    wire arrived;
    sn_flag #(.N(2)) flag (.clk(clk), .rst(rst), .enable(1'b1), .in(read), .out(arrived));
    /* verilator lint_off UNUSED */
    wire never_full;
    /* verilator lint_on UNUSED */
    sn_fifo #(.W(W)) fifo (
        .clk(clk), .rst(rst), .in_valid(arrived), .in_ready(never_full), .in_data(found),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));
    always @(posedge clk)
        if (rst) begin
            used <= 0;
            room <= 5'd16;
        end else begin
            if (push && !read) used <= used + 1;
            if (read && !push) used <= used - 1;
            if (read && !pop) room <= room - 1;
            if (pop && !read) room <= room + 1;
        end
endmodule
