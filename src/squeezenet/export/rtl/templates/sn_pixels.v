// Pixels of C bytes become elements of the network, channel by channel: each byte is looked up in the table of its
// channel, which holds the preparation of the image (mean, standard deviation, step).
module sn_pixels #(
    parameter C = 3,
    parameter X = 8,
    parameter FILE = ""
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [8*C-1:0] in_data,  // the first channel in the lowest byte
    output wire out_valid,
    input wire out_ready,
    output wire [X-1:0] out_data
);
    localparam CB = C > 1 ? $clog2(C) : 1;
    reg [8*C-1:0] pixel;
    reg full;
    reg [4:0] room;
    wire send = full && room != 0;
    wire pop = out_valid && out_ready;
    wire last, done;
    wire [CB-1:0] channel;
    wire [X-1:0] found;
    /* verilator lint_off UNUSED */
    wire never_full;
    /* verilator lint_on UNUSED */
    sn_count #(.N(C)) count (.clk(clk), .rst(rst), .step(send), .value(channel), .last(last));
    assign in_ready = !full || (send && last);
    sn_rom #(.W(X), .DEPTH(256 << CB), .FILE(FILE)) tables (
        .clk(clk), .enable(1'b1), .at({channel, pixel[7:0]}), .out(found));
    sn_flag #(.N(2)) flag (.clk(clk), .rst(rst), .enable(1'b1), .in(send), .out(done));
    always @(posedge clk) begin
        if (in_valid && in_ready) pixel <= in_data;
        else if (send) pixel <= pixel >> 8;
        if (rst) begin
            full <= 0;
            room <= 5'd16;
        end else begin
            full <= (in_valid && in_ready) || (full && !(send && last));
            if (send && !pop) room <= room - 1;
            if (pop && !send) room <= room + 1;
        end
    end
    sn_fifo #(.W(X)) fifo (
        .clk(clk), .rst(rst), .in_valid(done), .in_ready(never_full), .in_data(found),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));
endmodule
